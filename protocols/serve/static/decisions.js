// Decisions: what was decided, what holds, and forms for sites; images are vetoed in the gallery.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;

  function table(names, rows) {
    const head = names.map(function (name) { return make("th", { scope: "col", text: name }); });
    return make("div", { class: "scroll" }, make("table", { class: "wide" }, make("thead", null, make("tr", null, head)), make("tbody", null, rows)));
  }
  function about(d) { return d.image || (d.sites.length > 8 ? d.sites.slice(0, 8).join(", ") + " and " + (d.sites.length - 8) + " more" : d.sites.join(", ")) || "those of project.toml"; }

  // A form: `ask()` gives the decision without who and why, or a text that says what is missing.
  function form(title, words, parts, buttons, context) {
    const reason = make("input", { type: "text", maxlength: "1000", "aria-label": "reason for: " + title });
    const name = make("input", { type: "text", maxlength: "100", value: s.who(), "aria-label": "name of who decides: " + title });
    const told = make("p", { class: "told", role: "status" });
    async function send(ask) {
      const asked = ask();
      if (typeof asked === "string") { say(asked, "bad"); return; }
      if (!reason.value.trim()) { say("A reason is needed: it stands in the report.", "bad"); reason.focus(); return; }
      if (!name.value.trim()) { say("A name is needed.", "bad"); name.focus(); return; }
      localStorage.setItem("stimsynth.who", name.value.trim());
      try {
        const answer = await context.decide(Object.assign({ reason: reason.value.trim(), who: name.value.trim() }, asked));
        reason.value = "";
        say("Recorded: " + answer.text, "good");
        context.go("decisions");
      } catch (error) { say(error.message, "bad"); }
    }
    function say(text, kind) { told.className = "told " + kind; told.textContent = text; }
    const box = make("form", { class: "decide", onsubmit: function (event) { event.preventDefault(); send(buttons[0][1]); } },
      make("h3", { text: title }), make("p", { class: "sub", text: words }), parts,
      make("div", { class: "tools" }, make("label", null, "Reason ", reason), make("label", null, "Who ", name),
        buttons.map(function (b, i) { return make("button", { type: i ? "button" : "submit", onclick: i ? function () { send(b[1]); } : null }, b[0]); })), told);
    return box;
  }
  function siteForm(data, context) {
    const boxes = data.sites.map(function (site) {
      const box = make("input", { type: "checkbox", value: site.site, "data-eligible": site.eligible ? "yes" : null });
      const state = (data.stopped.includes(site.site) ? " (stopped)" : "") + (site.eligible ? "" : " (cannot be controlled" + (site.reason ? ": " + site.reason : "") + ")");
      return [box, make("label", null, box, " " + site.site + (s.known(site.r) ? ", r " + s.number(site.r) : "") + state)];
    });
    const count = make("span", { role: "status" });
    function chosen() { return boxes.filter(function (b) { return b[0].checked; }).map(function (b) { return b[0].value; }); }
    function tell() { count.textContent = chosen().length + " of " + boxes.length + " chosen"; }
    function all(value) { for (const b of boxes) b[0].checked = value && Boolean(b[0].dataset.eligible); tell(); }
    const list = make("div", { class: "sitelist", role: "group", "aria-label": "sites", onchange: tell }, boxes.map(function (b) { return b[1]; }));
    tell();
    const parts = [make("div", { class: "tools" }, make("button", { type: "button", onclick: function () { all(true); } }, "all that can be controlled"), make("button", { type: "button", onclick: function () { all(false); } }, "none"), count), list];
    function of(action, more) { return function () { const sites = chosen(); return sites.length ? Object.assign({ action: action, sites: sites }, more) : "Choose a site."; }; }
    const target = data.targets, number = target.round;
    const now = target.sites === null ? "now those of project.toml" : "now " + target.sites.length + " sites, by decision";
    return form("Sites", "Targets of round " + number + ": " + now + ". A stopped site gets no more images: what is exported stays, what is not exported is left out.", parts, [
      ["Control these in round " + number, of("targets", { to: number })], ["Stop these", of("stop")], ["Resume these", of("resume")],
      ["Targets as in project.toml", function () { return { action: "targets", sites: [], to: number }; }],
    ], context);
  }
  function imageForm(data, context) {
    const name = make("input", { type: "text", maxlength: "200", "aria-label": "image", placeholder: "c0001, or its name in the gallery" });
    function of(action) { return function () { return name.value.trim() ? { action: action, image: name.value.trim(), round: data.waiting } : "Name an image."; }; }
    return form("An image of round " + data.waiting, "Images are vetoed more easily in the gallery. In the place of a vetoed one stands the next best of its site and objective, by the validator.",
      [make("p", null, make("label", null, "Image ", name))], [["Veto", of("veto")], ["Approve", of("approve")]], context);
  }

  s.views.decisions = function (root, data, context) {
    if (!data.allowed) root.append(make("p", { class: "sub", text: "This server shows only. `stimsynth decide`, or `stimsynth serve --allow-decisions`, takes decisions." }));
    if (data.allowed && context.decide) {
      if (data.waiting) root.append(imageForm(data, context));
      else root.append(make("p", { class: "sub", text: "No round has images that are made and not exported: nothing can be vetoed now." }));
      if (data.sites.length) root.append(siteForm(data, context));
    }
    if (data.vetoed.length) root.append(make("h3", { text: "Vetoed images" }), table(["image", "round", "who", "reason"], data.vetoed.map(function (d) {
      return make("tr", null, make("td", { text: d.image }), make("td", { text: String(d.round) }), make("td", { text: d.who }), make("td", { text: d.reason }));
    })));
    if (data.stopped.length) root.append(make("h3", { text: "Stopped sites" }), make("p", { text: data.stopped.join(", ") }));
    root.append(make("h3", { text: "All decisions, newest first" }));
    if (!data.decisions.length) { root.append(make("p", { class: "empty", text: "Nothing was decided yet." })); return; }
    root.append(table(["", "UTC", "who", "what", "about", "round", "reason"], data.decisions.map(function (d) {
      return make("tr", null, make("td", { text: String(d.sequence) }), make("td", { text: d.utc }), make("td", { text: d.who }), make("td", null, make("span", { class: "pill " + d.action, text: d.action })),
        make("td", { text: about(d) }), make("td", { text: String(d.round) }), make("td", { text: d.reason }));
    })));
  };
}());
