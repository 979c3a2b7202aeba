// The screen Queue: a folder, what a run of it would do, and the run.

import { call, latest } from "./api.js";
import { byId, choices, commandLine, el, number, say, trouble } from "./dom.js";

/** Milliseconds between two looks at a run that is going on. */
const PAUSE = 700;
const ORDERS = {
  name: (a, b) => (a.name < b.name ? -1 : 1),
  small: (a, b) => (a.frames ?? 0) - (b.frames ?? 0),
  large: (a, b) => (b.frames ?? 0) - (a.frames ?? 0),
};

export class Queue {
  constructor(page) {
    this.page = page;
    this.files = [];
    /** Names in the order that a person has made. */
    this.own = [];
    this.state = null;
    /** Questions about the run so far, and which of them was the last to be shown. */
    this.asks = this.shown = 0;
    this.plan = latest(() => this.load());
    byId("queue-out").addEventListener("change", () => this.plan());
    byId("queue-folder").addEventListener("change", () => {
      this.suggestOut();
      this.plan();
    });
    byId("queue-order").addEventListener("change", () => this.sort());
    byId("queue-run").addEventListener("click", () => this.act("queue/run"));
    byId("queue-stop").addEventListener("click", () => this.act("queue/stop"));
    byId("queue-again").addEventListener("click", () => this.act("queue/again"));
  }

  async open() {
    choices(byId("queue-folder"), this.page.folders.map((name) => [name, name || "the folder of this page"]));
    try {
      const { outs } = await call("queue/known");
      byId("queue-outs").replaceChildren(...outs.map((value) => el("option", { value })));
      if (!byId("queue-out").value) {
        if (outs.length) byId("queue-out").value = outs[0];
        else this.suggestOut();
      }
    } catch (error) {
      trouble(error);
    }
    await this.plan();
  }

  suggestOut() {
    const folder = byId("queue-folder").value;
    byId("queue-out").value = folder ? `${folder}/results` : "results";
  }

  get asked() {
    return {
      folder: byId("queue-folder").value,
      out: byId("queue-out").value,
      settings: this.page.settings.value,
    };
  }

  async load() {
    byId("queue-region").setAttribute("aria-busy", "true");
    byId("queue-total").textContent = "Looking at the recordings …";
    byId("queue-settings").textContent = this.page.settings.sentence;
    try {
      const asked = this.asked;
      const number = ++this.asks;
      const found = await call("queue/plan", asked);
      if (asked.out !== this.asked.out || asked.folder !== this.asked.folder) return; // it is old
      this.files = found.files;
      this.command = found.command;
      byId("queue-total").textContent = totalOf(found);
      byId("queue-left-title").hidden = !found.left_out.length;
      byId("queue-left").replaceChildren(...found.left_out.map((one) =>
        el("tr", {}, el("td", {}, one.name || "the folder"), el("td", { class: "quiet" }, one.reason))));
      trouble(null);
      this.sort();
      this.show(found.state, number);
    } catch (error) {
      byId("queue-total").textContent = "";
      trouble(error);
    } finally {
      byId("queue-region").setAttribute("aria-busy", "false");
    }
  }

  sort() {
    const order = ORDERS[byId("queue-order").value];
    const places = new Map(this.own.map((name, index) => [name, index]));
    this.files.sort(order ?? ((a, b) => (places.get(a.name) ?? Infinity) - (places.get(b.name) ?? Infinity)));
    this.table();
  }

  move(index, step) {
    const [file] = this.files.splice(index, 1);
    this.files.splice(index + step, 0, file);
    this.own = this.files.map((one) => one.name);
    byId("queue-order").value = "own";
    this.table();
    const label = step < 0 ? "up" : "down";
    const button = byId("queue-files").querySelector(`[data-row="${index + step}"] [data-move="${label}"]`);
    (button?.disabled ? button.parentElement.querySelector("button:enabled") : button)?.focus();
    say(`${file.name} is now number ${index + step + 1}`);
  }

  async act(name) {
    try {
      const own = byId("queue-order").value !== "name";
      const files = own ? this.files.map((file) => file.name) : [];
      const number = ++this.asks;
      this.show(await call(name, name === "queue/run" ? { ...this.asked, files } : { out: this.asked.out }), number);
      trouble(null);
    } catch (error) {
      trouble(error);
    }
  }

  /** Show the state of the run, unless a later one is shown, and look again while it is going on. */
  show(state, number) {
    if (number < this.shown) return;
    this.shown = number;
    this.state = state;
    clearTimeout(this.timer);
    byId("queue-run").disabled = state.is_running || !this.files.length;
    byId("queue-stop").disabled = !state.is_running;
    byId("queue-again").disabled = state.is_running || !state.exists || state.exit_code === 0;
    const words = inWords(state);
    if (byId("queue-state").textContent !== words) byId("queue-state").textContent = words;
    this.bars(state);
    const said = state.said.trim();
    byId("queue-said").hidden = !said;
    byId("queue-said").textContent = said;
    this.table();
    byId("queue").dataset.state = state.is_running ? "running" : state.exists ? "ended" : "none";
    if (state.is_running) this.timer = setTimeout(() => this.look(), PAUSE);
  }

  shownCommand() {
    const { begin, folder, end } = this.command;
    const own = byId("queue-order").value !== "name";
    return [begin, ...(own ? this.files.map((file) => file.word) : [folder]), end].join(" ");
  }

  showCommand() {
    const command = this.state?.is_running ? this.state.command : this.shownCommand();
    if (byId("queue-command").dataset.text === command) return;
    byId("queue-command").dataset.text = command;
    byId("queue-command").replaceChildren(commandLine(command));
  }

  async look() {
    try {
      const { out } = this.asked;
      const number = ++this.asks;
      const state = await call("queue/state", { out });
      if (out === this.asked.out) this.show(state, number);
      trouble(null);
    } catch (error) {
      trouble(error);
      this.timer = setTimeout(() => this.look(), 3 * PAUSE);
    }
  }

  bars(state) {
    byId("queue-progress").hidden = !state.is_running || !state.files.length;
    const ended = state.files.filter((file) => !["waiting", "measuring"].includes(file.state)).length;
    const part = state.stage.total ? state.stage.done / state.stage.total : 0;
    byId("queue-batch").max = state.files.length || 1;
    byId("queue-batch").value = ended;
    byId("queue-batch-text").textContent = `${ended} of ${state.files.length}`;
    const now = state.files.filter((file) => file.state === "measuring");
    byId("queue-file-name").textContent =
      now.length > 1 ? `${now.length} files` : now.length ? baseName(now[0].input) : "File";
    byId("queue-file").value = part;
    byId("queue-file-text").textContent = state.stage.name
      ? `${state.stage.name}: ${number(state.stage.done)} of ${number(state.stage.total)}` : "beginning";
  }

  table() {
    const told = new Map((this.state?.files ?? []).map((file) => [baseName(file.input), file]));
    const moving = !this.state?.is_running;
    const rows = this.files.map((file, index) => {
      const outcome = told.get(baseName(file.name));
      return el("tr", { "data-row": index, "data-name": file.name },
        el("td", {}, file.name),
        cell(file.frames, number),
        cell(file.minutes, (value) => (value < 0.05 ? "< 0.1" : value.toFixed(1))),
        cell(file.result_bytes, (value) => (value / 1e9).toPrecision(2)),
        cell(outcome?.events, number),
        el("td", {}, stateOf(file, outcome)),
        el("td", { class: "moves" },
          this.mover(file, index, -1, moving && index > 0), " ",
          this.mover(file, index, 1, moving && index < this.files.length - 1)));
    });
    byId("queue-files").replaceChildren(
      el("thead", {}, el("tr", {}, ...["recording", "frames", "minutes", "GB", "events", "state", "order"].map((name, index) =>
        el("th", { scope: "col", class: index > 0 && index < 5 ? "number" : null }, name)))),
      el("tbody", {}, ...rows));
    this.showCommand();
  }

  mover(file, index, step, enabled) {
    const word = step < 0 ? "up" : "down";
    return el("button", { type: "button", class: "small", "data-move": word, disabled: !enabled,
      "aria-label": `Move ${file.name} ${word}`, onclick: () => this.move(index, step) }, step < 0 ? "↑" : "↓");
  }
}

function cell(value, text) {
  return el("td", { class: "number" }, value === null || value === undefined ? "–" : text(value));
}

function baseName(path) {
  return path.split(/[\\/]/).at(-1);
}

function stateOf(file, outcome) {
  if (outcome && outcome.state !== "waiting") {
    const more = outcome.error ?? outcome.reason ?? outcome.findings.join(", ");
    return more ? `${outcome.state}: ${more}` : outcome.state;
  }
  if (outcome) return "waiting";
  if (file.resumed !== null) return `to do, from frame ${number(file.resumed)} on, where it was stopped`;
  if (file.state === "skipped") return "skipped: its result is finished";
  return file.reason ? `${file.state}: ${file.reason}` : file.state;
}

function inWords(state) {
  if (state.is_running) return state.files.length ? "Running." : "Starting.";
  if (!state.exists) return "Nothing has been run into this folder from the page.";
  if (state.exit_code === 0) return "Finished: all good.";
  if (state.exit_code === 3) return "Finished, with findings to look at.";
  if (state.exit_code === null || state.exit_code >= 128) return "Stopped. Go on resumes it.";
  return `Ended with code ${state.exit_code}.`;
}

function totalOf({ files, minutes, disks }) {
  const todo = files.filter((file) => file.state === "to do").length;
  const size = disks.map((disk) => {
    const free = disk.free_bytes === null ? "" : `, ${(disk.free_bytes / 1e9).toFixed(0)} GB are free`;
    return `${(disk.result_bytes / 1e9).toPrecision(2)} GB of results${free}`;
  });
  const time = minutes === null ? [] : [`about ${minutes < 0.05 ? "0.1" : minutes.toFixed(1)} minutes`];
  return [`${todo} of ${files.length} to do`, ...time, ...size].join(", ");
}
