// The screen Look: one frame, step by step.

import { call, latest } from "./api.js";
import { byId, choices, commandLine, el, number, say, svg, trouble } from "./dom.js";
import { polygon, swatch } from "./fates.js";
import { Settings } from "./settings.js";

const TITLES = {
  image: "Image, with the outlines of objects",
  background: "Background",
  difference: "Image less background",
  mask: "Mask, before its clean-up",
};
/** Features that are shown first; the others follow in the details of a row. */
const FIRST = ["area_um", "deform", "bright_avg", "pos_x", "pos_y"];

export class Look {
  constructor(page) {
    this.page = page;
    this.show = latest((frame) => this.load(frame));
    this.frame = 0;
    const slider = byId("look-slider");
    const exact = byId("look-frame");
    slider.addEventListener("input", () => this.show(Number(slider.value)));
    exact.addEventListener("change", () => this.show(Number(exact.value)));
    byId("look-file").addEventListener("change", () => {
      this.result = null;
      this.show(0);
    });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** Called when the screen is opened, and when there are other files. */
  open() {
    const files = this.page.files;
    choices(byId("look-file"), files);
    if (this.wanted) {
      byId("look-file").value = this.wanted;
      byId("look-slider").focus();
    }
    this.wanted = null;
    byId("look-empty").hidden = files.length > 0;
    byId("look-file").disabled = !files.length;
    if (files.length) this.show(this.frame);
  }

  /** Show a frame of the recording of a result, by the settings of the result. */
  goTo({ name, recording, settings }, frame) {
    this.result = null;
    if (settings) {
      this.result = { name, settings: new Settings(this.page.settings.stages, () => {}) };
      this.result.settings.value = settings;
    }
    this.wanted = recording;
    this.frame = frame;
  }

  /** Those of the result that is explained, or else those of Tune. */
  get settings() {
    return this.result?.settings ?? this.page.settings;
  }

  tellSettings() {
    const place = byId("look-settings");
    if (this.result) {
      const back = el("button", { type: "button", class: "small" }, "Those of Tune");
      back.addEventListener("click", () => {
        this.result = null;
        this.show(this.frame);
        byId("look-slider").focus();
      });
      place.replaceChildren(`Settings of ${this.result.name}: ${this.settings.words || "the defaults"} `, back);
    } else {
      place.textContent = this.settings.sentence;
    }
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!step || byId("look").hidden || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, .scroll, nav")) return;
    event.preventDefault();
    this.show(this.frame + step);
  }

  async load(wanted) {
    const panels = byId("look-panels");
    panels.setAttribute("aria-busy", "true");
    try {
      const file = byId("look-file").value;
      const settings = this.settings.value;
      const length = file === this.file ? this.length : Infinity;
      const frame = Math.max(0, Math.min(wanted, length - 1));
      const answer = await call("look/frame", { file, frame, settings });
      this.file = file;
      this.length = answer.length;
      this.frame = answer.frame;
      await this.draw(answer);
      trouble(null);
    } catch (error) {
      trouble(error);
    } finally {
      panels.setAttribute("aria-busy", "false");
    }
  }

  async draw(answer) {
    const slider = byId("look-slider");
    slider.max = byId("look-frame").max = answer.length - 1;
    slider.value = byId("look-frame").value = answer.frame;
    byId("look-length").textContent = `from 0 to ${answer.length - 1}, as in dclab; DCscope shows ${answer.frame + 1}`;
    this.tellSettings();
    const bytes = Uint8Array.from(atob(answer.picture), (letter) => letter.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const [height, width] = answer.shape;
    byId("look-panels").replaceChildren(
      ...answer.layers.map((layer, index) => this.panel(layer, index, picture, width, height, answer)));
    byId("look-command").replaceChildren(commandLine(answer.command));
    this.table(answer);
    byId("look").dataset.frame = answer.frame;
  }

  panel(layer, index, picture, width, height, answer) {
    const canvas = el("canvas", { width, height });
    canvas.getContext("2d").drawImage(picture, 0, index * height, width, height, 0, 0, width, height);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${TITLES[layer]}, frame ${answer.frame}`);
    const frame = el("div", { class: "frame" }, canvas);
    if (layer === "image") frame.append(this.overlay(answer, width, height));
    return el("figure", { class: "panel", "data-layer": layer }, frame, el("figcaption", {}, TITLES[layer]));
  }

  overlay(answer, width, height) {
    const shapes = answer.objects.map((object, index) => {
      const shape = polygon(object, { tabindex: 0, role: "img", "aria-label": object.verdict, "data-index": index });
      shape.append(svg("title", {}, object.verdict));
      for (const event of ["pointerenter", "focus"]) shape.addEventListener(event, () => this.mark(index));
      return shape;
    });
    return svg("svg", { class: "outlines", viewBox: `0 0 ${width} ${height}`, role: "group",
      "aria-label": "Outlines of objects" }, ...shapes);
  }

  mark(index) {
    for (const node of byId("look").querySelectorAll("[data-index]")) {
      node.classList.toggle("marked", Number(node.dataset.index) === index);
    }
    const row = byId("look-objects").querySelector(`[data-index="${index}"]`);
    byId("look-verdict").textContent = row?.dataset.verdict ?? "";
  }

  table(answer) {
    const kept = answer.objects.filter((object) => object.fate === "kept").length;
    const lost = answer.objects.length - kept + answer.hidden;
    const text = answer.repeated
      ? "This frame equals the one before and is skipped."
      : `Frame ${answer.frame}: ${kept} kept, ${lost} lost.`;
    byId("look-summary").replaceChildren(text, " ", el("strong", { id: "look-verdict" }));
    say(text);
    const columns = FIRST.filter((name) => answer.objects.some((object) => name in object.features));
    const rows = answer.objects.map((object, index) => el("tr",
      { "data-index": index, "data-verdict": object.verdict, tabindex: 0,
        onfocus: () => this.mark(index), onpointerenter: () => this.mark(index) },
      el("td", {}, swatch(object.fate), ` ${object.verdict}`),
      el("td", { class: "number" }, number(object.size)),
      ...columns.map((name) => el("td", { class: "number", "data-feature": name },
        name in object.features ? number(object.features[name]) : "–")),
      el("td", {}, allValues(object.features))));
    byId("look-objects").replaceChildren(
      el("thead", {}, el("tr", {}, ...["what became of it", "pixels", ...columns, "all values"]
        .map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows));
  }
}

function allValues(features) {
  const names = Object.keys(features).sort();
  if (!names.length) return "–";
  return el("details", {}, el("summary", {}, `${names.length} values`),
    el("dl", { class: "values" }, ...names.flatMap((name) =>
      [el("dt", {}, name), el("dd", {}, number(features[name], 6))])));
}
