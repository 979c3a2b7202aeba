// The page: its screens, and what they share.

import { call } from "./api.js";
import { byId, trouble } from "./dom.js";
import { Look } from "./look.js";
import { Queue } from "./queue.js";
import { Results } from "./results.js";
import { Settings } from "./settings.js";
import { Tune } from "./tune.js";
import { VolumeTune } from "./volume.js";

const SCREENS = ["look", "tune", "volume", "queue", "results"];

class Page {
  /** The address holds the key only until the page is there. */
  async begin() {
    history.replaceState(null, "", `/${location.hash}`);
    const { files, folders, stages } = await call("begin");
    this.files = files;
    this.folders = folders;
    this.settings = new Settings(stages, () => {});
    const kept = sessionStorage.getItem("settings"); // a page that is loaded again is as it was
    if (kept) this.settings.value = JSON.parse(kept);
    this.screens = {
      look: new Look(this), tune: new Tune(this, stages), queue: new Queue(this), results: new Results(this),
    };
    const { volumes, functions } = await call("volume/begin");
    byId("volume-link").hidden = byId("tune-volumes").hidden = !volumes.length;
    this.screens.volume = new VolumeTune(volumes, functions);
    addEventListener("hashchange", () => this.turn());
    this.turn();
    document.body.dataset.ready = "true";
  }

  turn() {
    const wanted = location.hash.slice(1);
    const name = SCREENS.includes(wanted) ? wanted : "look";
    if (wanted && wanted !== name) return; // a link within the page
    for (const one of SCREENS) {
      byId(one).hidden = one !== name;
      const link = document.querySelector(`nav a[href="#${one}"]`);
      if (one === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${byId(`${name}-title`).textContent} – cytovox`;
    trouble(null);
    this.screens[name]?.open();
  }
}

new Page().begin().catch(trouble);
