// The screen Results: numbers of results, and what can be done with them.

import { call, latest } from "./api.js";
import { byId, choices, commandLine, el, number, trouble } from "./dom.js";
import { countsTable } from "./fates.js";

export class Results {
  constructor(page) {
    this.page = page;
    this.list = latest(() => this.load());
    byId("results-folder").addEventListener("change", () => this.list());
    byId("results-verify").addEventListener("click", () => this.verify(byId("results-folder").value));
    byId("results-report").addEventListener("click", () => this.report(byId("results-folder").value));
    byId("results-open").addEventListener("click", () => this.openFolder());
  }

  async open() {
    try {
      const { folders } = await call("begin");
      this.page.folders = folders;
    } catch (error) {
      trouble(error);
    }
    const select = byId("results-folder");
    const first = !select.options.length;
    choices(select, this.page.folders.map((name) => [name, name || "the folder of this page"]));
    const out = byId("queue-out").value || "results";
    if (first && this.page.folders.includes(out)) select.value = out;
    await this.list();
  }

  async load() {
    try {
      this.show(await call("results/list", { folder: byId("results-folder").value }));
      trouble(null);
    } catch (error) {
      trouble(error);
    }
  }

  show({ results, ...commands }) {
    for (const name of ["verify", "report", "open"]) {
      byId(`results-${name}-command`).replaceChildren(commandLine(commands[name]));
    }
    byId("results-answer").textContent = results.length ? "" : "There are no results (_dcn.rtdc) in this folder.";
    byId("results-one").replaceChildren();
    const hidden = el("span", { class: "visually-hidden" }, "choose");
    const names = ["result", "frames", "found", "events", "lost", "MB", hidden, "checked"];
    const rows = results.map((one) => el("tr", { "data-name": one.name },
      el("td", {}, one.name.split("/").at(-1)),
      cell(one.frames), cell(one.objects?.found), cell(one.events),
      cell(one.objects && one.objects.found - one.objects.kept), cell(+(one.bytes / 1e6).toPrecision(3)),
      el("td", {}, one.error ? el("span", { class: "bad" }, one.error)
        : el("button", { type: "button", class: "small", "aria-label": `Choose ${one.name}`,
          onclick: () => this.choose(one) }, "Choose")),
      el("td", { "data-check": one.name }, "")));
    byId("results-table").replaceChildren(
      el("thead", {}, el("tr", {}, ...names.map((name, index) =>
        el("th", { scope: "col", class: index > 0 && index < 6 ? "number" : null }, name)))),
      el("tbody", {}, ...rows));
    byId("results").dataset.count = results.length;
  }

  choose(one) {
    for (const row of byId("results-table").querySelectorAll("tr")) {
      row.classList.toggle("marked", row.dataset.name === one.name);
    }
    const action = (text, command, act) => el("div", { class: "action" },
      el("button", { type: "button", class: "plain", onclick: act, disabled: !act }, text), commandLine(command, text));
    const counts = one.objects ? countsTable(one.objects, "Objects") : null;
    const explain = el("div", {}, el("p", { class: "quiet", role: "status" }, "Looking for a lost object …"));
    byId("results-one").replaceChildren(
      el("h3", { tabindex: "-1" }, one.name),
      action("Verify", one.commands.verify, () => this.verify(one.name)),
      action("Report", one.commands.report, () => this.report(one.name)),
      explain, counts ?? "");
    byId("results-one").querySelector("h3").focus();
    call("results/explain", { name: one.name }).then(({ frame, command }) => {
      const act = one.recording === null ? null : () => this.explain(one, frame);
      explain.replaceChildren(action(`Explain frame ${frame}`, command, act),
        act ? "" : el("p", { class: "quiet" }, "Its recording is not in the folder of this page."));
    }).catch((error) => explain.replaceChildren(el("p", { class: "bad" }, error.message)));
  }

  explain(one, frame) {
    this.page.screens.look.goTo(one, frame);
    location.hash = "#look";
  }

  async verify(name) {
    await this.wait("Checking …", async () => {
      const { files } = await call("results/verify", { name });
      for (const file of files) {
        const base = file.path.split(/[\\/]/).at(-1);
        for (const place of document.querySelectorAll("[data-check]")) {
          if (place.dataset.check.split("/").at(-1) === base) place.textContent = file.state;
        }
      }
      const bad = files.filter((file) => file.exit_code);
      const what = bad.map((file) => `${file.path.split(/[\\/]/).at(-1)}: ${file.error ?? file.state}`);
      return bad.length ? `Not good: ${what.join("; ")}` : `Checked: ${number(files.length)} good.`;
    });
  }

  async report(name) {
    await this.wait("Making the report …", async () => {
      const { address, file } = await call("results/report", { name });
      return el("span", {}, `The report is ${file}: `, el("a", { href: address, target: "_blank" }, "open it"));
    });
  }

  async openFolder() {
    await this.wait("", async () => {
      await call("results/open", { folder: byId("results-folder").value });
      return "";
    });
  }

  async wait(text, work) {
    const place = byId("results-answer");
    place.textContent = text;
    try {
      place.replaceChildren(await work());
      trouble(null);
    } catch (error) {
      place.textContent = "";
      trouble(error);
    }
  }
}

function cell(value) {
  return el("td", { class: "number" }, value === null || value === undefined ? "–" : number(value));
}
