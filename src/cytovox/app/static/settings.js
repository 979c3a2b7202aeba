// The settings of a recipe as a form, made from what the stages declare.

import { el } from "./dom.js";

/** Stages in the order in which they matter; those that are closed are rarely changed. */
const GROUPS = [
  ["segmenter", "Segmentation", true],
  ["mask", "Clean-up of masks", true],
  ["gate", "Gate", true],
  ["background", "Background", false],
  ["feature", "Features", false],
  ["data", "Input", false],
];
const CODES = { background: "sparsemed", segmenter: "thresh", feature: "legacy", gate: "norm" };
let made = 0;

export class Settings {
  /** `stages` is what the server says about stages; `changed` is called after each change. */
  constructor(stages, changed) {
    this.stages = stages.filter((stage) => stage.available);
    this.changed = changed;
    this.codes = { ...CODES };
    this.options = {};
    this.root = el("form", { class: "settings", autocomplete: "off", onsubmit: (e) => e.preventDefault() });
    this.build();
  }

  /** What is sent to the server: only what differs from the defaults. */
  get value() {
    return { codes: { ...this.codes }, options: { ...this.options } };
  }

  set value({ codes, options }) {
    this.codes = { ...codes };
    const usual = this.stages.filter((stage) => this.codes[stage.kind] === stage.code)
      .flatMap((stage) => stage.options);
    this.options = Object.fromEntries(Object.entries(options).filter(([name, value]) => {
      const option = usual.find((one) => one.set === name);
      return !option || !isSame(option.default ?? option.shown, value);
    }));
    this.build();
  }

  /** What differs from the defaults, or that nothing does, as a sentence. */
  get sentence() {
    return this.words ? `Settings of Tune: ${this.words}` : "Settings: the defaults. Change them in Tune.";
  }

  /** What differs from the defaults, in words; empty if nothing does. */
  get words() {
    const codes = Object.entries(this.codes).filter(([kind, code]) => code !== CODES[kind]);
    return [...codes, ...Object.entries(this.options)].map(([name, value]) => `${name}=${value}`).join(", ");
  }

  optionsOf(group) {
    const kind = group === "mask" ? "segmenter" : group;
    const stage = this.stages.find((one) => one.kind === kind && one.code === this.codes[kind]);
    return (stage?.options ?? []).filter((option) => option.set.startsWith(`${group}.`));
  }

  build() {
    const parts = GROUPS.map(([group, title, open]) => {
      const fields = [this.codeField(group), ...this.optionsOf(group).map((one) => this.field(one))];
      const present = fields.filter(Boolean);
      if (!present.length) return null;
      return open
        ? el("fieldset", {}, el("legend", {}, title), ...present)
        : el("details", {}, el("summary", {}, title), ...present);
    });
    const reset = el("button", { type: "button", class: "small" }, "Defaults");
    reset.addEventListener("click", () => {
      this.options = {};
      this.codes = { ...CODES };
      this.build();
      this.changed();
    });
    this.root.replaceChildren(...parts.filter(Boolean), reset);
  }

  codeField(group) {
    const stages = this.stages.filter((stage) => stage.kind === group);
    if (stages.length < 2) return null;
    const select = el("select", { "data-code": group }, ...stages.map((stage) =>
      el("option", { value: stage.code, selected: stage.code === this.codes[group] }, stage.code)));
    const help = stages.find((stage) => stage.code === this.codes[group])?.title ?? "";
    select.addEventListener("change", () => {
      for (const name of Object.keys(this.options)) {
        if (name.startsWith(`${group}.`)) delete this.options[name];
      }
      this.codes[group] = select.value;
      this.build();
      this.root.querySelector(`[data-code="${group}"]`).closest("details")?.setAttribute("open", "");
      this.changed();
    });
    return labelled("method", select, help);
  }

  field(option) {
    const value = this.options[option.set] ?? option.default;
    return field(option, value, (text) => this.take(option, text));
  }

  take(option, text) {
    const usual = String(option.default ?? "");
    if (text === usual || text === "") delete this.options[option.set];
    else this.options[option.set] = text;
    this.changed();
  }
}

/** A control for one option, with its help; `take` gets what is entered, as text. */
export function field(option, value, take) {
  const name = option.set.split(".").at(-1);
  if (option.type === "bool" && typeof option.default === "boolean") {
    const box = el("input", { type: "checkbox", checked: String(value) === "true", "data-set": option.set });
    box.addEventListener("change", () => take(String(box.checked)));
    return labelled(name, box, option.help, true);
  }
  if (option.range) return slider(option, name, value, take);
  const input = el("input", {
    type: "text", value: value ?? "", placeholder: "not given", "data-set": option.set,
  });
  input.addEventListener("change", () => take(input.value.trim()));
  return labelled(name, input, option.help);
}

function slider(option, name, value, take) {
  const [min, max, step] = option.range;
  const shown = value ?? option.shown ?? min;
  const range = el("input", { type: "range", min, max, step, value: shown, "data-set": option.set });
  const exact = el("input", { type: "number", step: "any", value: shown, "aria-label": `${name}, exactly` });
  range.addEventListener("input", () => {
    exact.value = range.value;
    take(range.value);
  });
  exact.addEventListener("change", () => {
    range.value = exact.value;
    take(exact.value);
  });
  const whole = labelled(name, range, option.help);
  whole.querySelector(".control").append(exact);
  return whole;
}

function labelled(name, input, help, before = false) {
  const id = `setting-${++made}`;
  input.id = id;
  if (help) input.setAttribute("aria-describedby", `${id}-help`);
  const label = el("label", { for: id }, name.replaceAll("_", " "));
  const control = el("span", { class: "control" }, input);
  return el("div", { class: before ? "field check" : "field" },
    ...(before ? [control, label] : [label, control]),
    help ? el("p", { class: "help", id: `${id}-help`, title: help }, firstSentence(help)) : null);
}

function isSame(usual, text) {
  return String(usual) === text || (typeof usual === "number" && usual === Number(text));
}

function firstSentence(text) {
  const end = text.search(/[.;] /);
  return end < 0 ? text : `${text.slice(0, end)}.`;
}
