// The screen Tune for volumes: a function and its options, tried on two blocks.

import { call, latest } from "./api.js";
import { byId, choices, commandLine, counted, el, trouble } from "./dom.js";
import { histogram } from "./histogram.js";
import { field } from "./settings.js";

export class VolumeTune {
  constructor(volumes, functions) {
    this.functions = functions;
    this.options = {};
    this.try = latest(() => this.load());
    choices(byId("volume-file"), volumes);
    choices(byId("volume-function"), functions.map((one) => one.name));
    byId("volume-function").addEventListener("change", () => this.choose());
    for (const name of ["file", "block", "context"]) {
      byId(`volume-${name}`).addEventListener("change", () => this.try());
    }
    byId("volume-slice").addEventListener("input", () => this.try());
    byId("volume-settings").addEventListener("submit", (event) => event.preventDefault());
    if (functions.some((one) => one.name === "label")) byId("volume-function").value = "label";
    this.build();
  }

  open() {
    if (byId("volume-file").value) this.try();
  }

  choose() {
    this.options = {};
    this.build();
    this.try();
  }

  build() {
    const chosen = this.functions.find((one) => one.name === byId("volume-function").value);
    if (!chosen) return;
    byId("volume-settings").replaceChildren(el("p", { class: "help" }, chosen.title),
      ...chosen.options.map((option) => field(option, this.options[option.set] ?? option.default, (text) => {
        if (text === "" || text === String(option.default)) delete this.options[option.set];
        else this.options[option.set] = text;
        this.try();
      })));
  }

  async load() {
    const place = byId("volume-blocks");
    place.setAttribute("aria-busy", "true");
    const options = { ...this.options };
    const asked = {
      file: byId("volume-file").value,
      function: byId("volume-function").value,
      block: Number(byId("volume-block").value),
      context: Number(byId("volume-context").value),
      slice: Number(byId("volume-slice").value),
    };
    for (const [name, value] of Object.entries(options)) asked[`set.${name}`] = value;
    try {
      const { blocks, command } = await call("volume/blocks", asked);
      place.replaceChildren(...await Promise.all(blocks.map(panel)));
      byId("volume-command").replaceChildren(commandLine(command));
      byId("volume-said").textContent = blocks
        .map((one, index) => `Block ${index + 1}: ${counted(one.labels, "object")} in ${one.seconds} s`).join("; ");
      byId("volume").dataset.drawn = JSON.stringify(options);
      trouble(null);
    } catch (error) {
      trouble(error);
    } finally {
      place.setAttribute("aria-busy", "false");
    }
  }
}

async function panel(one, index) {
  const bytes = Uint8Array.from(atob(one.picture), (letter) => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const text = `Block ${index + 1}, voxels ${one.place.map(([a, b]) => `${a} to ${b}`).join(" × ")}, ` +
    `slice ${one.slice}: ${counted(one.here, "object")}`;
  const canvas = el("canvas", { width: picture.width, height: picture.height, role: "img", "aria-label": text });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return el("figure", { class: "panel" }, el("div", { class: "frame" }, canvas), el("figcaption", {}, text),
    el("div", { class: "histogram" },
      histogram({ feature: "size of an object [voxels]", ...one.sizes, lost: null, low: null, high: null })));
}
