// The frame of a frozen page: every view is a tab, its data and thumbnails stand in the page.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;
  const page = JSON.parse(document.getElementById("data").textContent);
  const images = JSON.parse(document.getElementById("images").textContent);
  const tabs = document.getElementById("tabs"), panel = document.getElementById("panel"), buttons = new Map();
  function go(name, query) {
    if (!buttons.has(name)) return;
    for (const [other, button] of buttons) {
      button.setAttribute("aria-selected", String(other === name));
      button.tabIndex = other === name ? 0 : -1;
    }
    const root = make("div", { class: "ss" });
    panel.replaceChildren(root);
    panel.setAttribute("aria-labelledby", "tab-" + name);
    root.append(make("h2", { text: page.titles[name] }));
    const place = "#" + name + (query && query.site ? "/" + encodeURIComponent(query.site) : "");
    if (location.hash !== place) history.replaceState(null, "", place);
    s.views[name](root, pick(name, query || {}), { frozen: true, query: query || {}, go: go, image: function (id) { return images[id] || null; } });
  }
  // What a server would build for the query stands in the page by the name of the site.
  function pick(name, query) {
    const data = page.data[name];
    if (!data || !data.by_site) return data;
    const site = Object.hasOwn(data.by_site, query.site || "") ? query.site : data.first;
    return Object.assign({}, data, data.by_site[site], { by_site: null });
  }
  const names = page.views;
  for (const name of names) {
    const button = make("button", { type: "button", role: "tab", id: "tab-" + name, "aria-controls": "panel", onclick: function () { go(name); } }, page.titles[name]);
    buttons.set(name, button);
    tabs.append(button);
  }
  tabs.addEventListener("keydown", function (event) {
    const at = names.findIndex(function (n) { return buttons.get(n) === document.activeElement; });
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = names[(to + names.length) % names.length];
    go(next);
    buttons.get(next).focus();
  });
  // The address names the view and the site: page.html#site/v4_001.
  function follow() {
    const [name, site] = location.hash.slice(1).split("/");
    let known = "";
    try { known = decodeURIComponent(site || ""); } catch (error) { known = ""; }
    go(buttons.has(name) ? name : names[0], known ? { site: known } : {});
  }
  window.addEventListener("hashchange", follow);
  follow();
}());
