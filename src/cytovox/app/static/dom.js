// Small helpers to make elements. Text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Fill a <select> with texts, or with [value, text], and keep what is chosen. */
export function choices(select, options) {
  const chosen = select.value;
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  select.replaceChildren(...pairs.map(([value, text]) => el("option", { value }, text)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

/** A command, and a button that copies it. */
export function commandLine(text, label = "The same on the command line") {
  const button = el("button", { type: "button", class: "small" }, "Copy");
  button.setAttribute("aria-label", `Copy the command: ${text}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  const code = el("code", { tabindex: "0" }, text);
  return el("div", { class: "command", role: "group", "aria-label": label }, code, button);
}

/** Say something to those who listen to the page. */
export function say(text) {
  byId("said").textContent = text;
}

export function trouble(error) {
  const place = byId("trouble");
  place.hidden = !error;
  place.textContent = error ? String(error.message ?? error) : "";
}

export function number(value, digits = 4) {
  return Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(digits));
}

export const counted = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
