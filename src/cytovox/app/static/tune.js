// The screen Tune: what settings do, for one setting or two side by side.

import { call, latest } from "./api.js";
import { byId, choices, commandLine, el, say, trouble } from "./dom.js";
import { countsTable, drawOutlines, inWords } from "./fates.js";
import { histogram } from "./histogram.js";
import { Settings } from "./settings.js";

const HINT = "Point at an outline, or use the arrow keys.";

export class Tune {
  constructor(page, stages) {
    this.page = page;
    this.stages = stages;
    this.sides = [new Side(this, "A", page.settings)];
    page.settings.changed = () => {
      sessionStorage.setItem("settings", JSON.stringify(page.settings.value));
      this.sides[0].update();
    };
    for (const id of ["tune-file", "tune-feature"]) {
      byId(id).addEventListener("change", () => this.update());
    }
    byId("tune-zoom").addEventListener("change", () => this.sides.forEach((side) => side.draw()));
    byId("tune-compare").addEventListener("change", (event) => this.compare(event.target.checked));
    new ResizeObserver(() => this.sides.forEach((side) => side.draw())).observe(byId("tune-sides"));
    this.arrange();
  }

  open() {
    choices(byId("tune-file"), this.page.files);
    byId("tune-file").disabled = !this.page.files.length;
    if (this.page.files.length) this.update();
  }

  update() {
    for (const side of this.sides) side.update();
  }

  compare(wanted) {
    if (wanted) {
      const side = new Side(this, "B", new Settings(this.stages, () => side.update()));
      side.settings.value = this.sides[0].settings.value;
      this.sides.push(side);
      side.update();
    } else {
      this.sides.length = 1;
    }
    this.arrange();
    this.sides.forEach((side) => side.draw());
  }

  arrange() {
    const place = byId("tune-sides");
    place.classList.toggle("two", this.sides.length > 1);
    place.replaceChildren(...this.sides.map((side) => side.root));
  }

  told(answer) {
    choices(byId("tune-feature"), answer.features);
    byId("tune-feature").value = answer.histogram.feature;
    const count = answer.frames.length;
    byId("tune-frames").textContent = count < answer.length
      ? `${count} frames, spread evenly over the ${answer.length} of the recording.`
      : `All ${count} frames of the recording.`;
  }
}

/** One setting, and what it does. */
class Side {
  constructor(tune, name, settings) {
    this.tune = tune;
    this.settings = settings;
    this.name = name;
    this.ask = latest(() => this.load());
    this.counts = el("div", { class: "counts-place" });
    this.histogram = el("div", { class: "histogram" });
    this.command = el("div");
    this.canvas = el("canvas", { tabindex: 0, role: "application" });
    this.verdict = el("p", { class: "verdict", role: "status" }, HINT);
    this.sheet = el("div", { class: "scroll sheet", tabindex: 0, role: "region",
      "aria-label": `Frames with outlines, setting ${name}` }, this.canvas);
    this.root = el("section", { class: "side", "aria-label": `Setting ${name}`, "data-side": name },
      el("div", { class: "side-settings" }, settings.root),
      el("div", { class: "side-answer" },
        el("div", { class: "side-numbers" }, this.counts, this.histogram),
        this.verdict, this.sheet, this.command));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  update() {
    if (byId("tune-file").value) this.ask();
  }

  async load() {
    const file = byId("tune-file").value;
    const settings = this.settings.value;
    const feature = byId("tune-feature").value || "size";
    this.root.setAttribute("aria-busy", "true");
    try {
      const answer = await call("tune/fates", { file, settings, feature });
      if (this.file !== file) {
        this.picture = await createImageBitmap(await call("tune/frames", { file, settings }));
        this.file = file;
      }
      this.answer = answer;
      this.marked = null;
      this.verdict.textContent = HINT;
      this.tune.told(answer);
      const caption = answer.hidden ? `Objects (${answer.hidden} small ones are not drawn)` : "Objects";
      this.counts.replaceChildren(countsTable(answer, caption));
      this.histogram.replaceChildren(histogram(answer.histogram));
      this.command.replaceChildren(commandLine(answer.command));
      this.draw();
      this.root.dataset.drawn = JSON.stringify(settings.options);
      say(`Setting ${this.name}: ${inWords(answer)}`);
      trouble(null);
    } catch (error) {
      trouble(error);
    } finally {
      this.root.setAttribute("aria-busy", "false");
    }
  }

  /** Put the frames side by side as the window allows, each with its outlines. */
  draw() {
    const { answer, picture } = this;
    const room = this.sheet.clientWidth - 4;
    if (!answer || room < 40) return;
    const [height, width] = answer.shape;
    const columns = Math.max(1, Math.floor(room / Number(byId("tune-zoom").value)));
    const sharp = devicePixelRatio || 1;
    const shown = room / columns;
    const scale = (shown - 3) / width;
    const tall = Math.ceil(height * scale) + 3;
    const rows = Math.ceil(answer.frames.length / columns);
    this.layout = { columns, shown, tall, scale };
    this.canvas.width = Math.round(room * sharp);
    this.canvas.height = Math.round(rows * tall * sharp);
    this.canvas.style.width = `${room}px`;
    this.canvas.style.height = `${rows * tall}px`;
    this.canvas.setAttribute("aria-label", `${answer.frames.length} frames. ${inWords(answer)}`);
    const context = this.canvas.getContext("2d");
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    answer.frames.forEach((_, row) => {
      const [x, y] = this.place({ row });
      const from = [(row % answer.columns) * width, Math.floor(row / answer.columns) * height];
      context.drawImage(picture, ...from, width, height, x, y, width * scale, height * scale);
    });
    drawOutlines(context, answer.objects, (object) => this.place(object), scale);
    if (this.marked !== null) this.drawMark(context);
  }

  drawMark(context) {
    const object = this.answer.objects[this.marked];
    context.lineWidth = 3;
    context.strokeStyle = "#ffffff";
    const [left, top] = this.place(object);
    const [x0, y0, x1, y1] = boxOf(object.outline);
    const { scale } = this.layout;
    context.strokeRect(left + x0 * scale - 3, top + y0 * scale - 3,
      (x1 - x0 + 1) * scale + 6, (y1 - y0 + 1) * scale + 6);
  }

  place({ row }) {
    const { columns, shown, tall } = this.layout;
    return [(row % columns) * shown, Math.floor(row / columns) * tall];
  }

  point(event) {
    if (!this.answer) return;
    const { columns, shown, tall, scale } = this.layout;
    const row = Math.floor(event.offsetY / tall) * columns + Math.floor(event.offsetX / shown);
    const [left, top] = this.place({ row });
    const x = (event.offsetX - left) / scale;
    const y = (event.offsetY - top) / scale;
    const found = this.answer.objects.findIndex((object) => {
      const [x0, y0, x1, y1] = boxOf(object.outline);
      return object.row === row && x >= x0 - 1 && x <= x1 + 2 && y >= y0 - 1 && y <= y1 + 2;
    });
    this.mark(found < 0 ? null : found);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const count = this.answer?.objects.length;
    if (!step || !count) return;
    event.preventDefault();
    this.mark(((this.marked ?? (step > 0 ? -1 : 0)) + step + count) % count);
    const top = this.place(this.answer.objects[this.marked])[1];
    this.sheet.scrollTop = Math.max(0, top - this.sheet.clientHeight / 2);
  }

  mark(index) {
    if (index === this.marked) return;
    this.marked = index;
    const object = this.answer.objects[index];
    this.verdict.textContent = object
      ? `Frame ${this.answer.frames[object.row]}: ${object.verdict}`
      : HINT;
    this.draw();
  }
}

function boxOf(outline) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < outline.length; i += 2) {
    x0 = Math.min(x0, outline[i]);
    x1 = Math.max(x1, outline[i]);
    y0 = Math.min(y0, outline[i + 1]);
    y1 = Math.max(y1, outline[i + 1]);
  }
  return [x0, y0, x1, y1];
}
