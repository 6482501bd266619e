// The log: newest first, filtered by words and by kind.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make, PAGE = 200;
  const kept = { text: "", event: "", round: "" };

  s.views.log = function (root, data) {
    for (const fault of data.faults || []) root.append(make("p", { class: "warning", text: fault }));
    const body = make("tbody"), count = make("span", { role: "status" });
    let most = PAGE;
    const words = make("input", { type: "search", value: kept.text, "aria-label": "words to look for", placeholder: "words", oninput: function () { kept.text = words.value; most = PAGE; fill(); } });
    const rounds = Array.from(new Set(data.records.map(function (r) { return String(r.round); }))).sort();
    const more = make("button", { type: "button", onclick: function () { most += PAGE; fill(); } }, "show more");
    root.append(make("div", { class: "tools" }, make("label", null, "Filter ", words),
      s.choice("Event", [["", "all"]].concat(data.events.map(function (e) { return [e, e]; })), kept.event, function (v) { kept.event = v; fill(); }),
      s.choice("Round", [["", "all"]].concat(rounds.map(function (r) { return [r, r]; })), kept.round, function (v) { kept.round = v; fill(); }), count));
    const head = ["UTC", "round", "event", "what"].map(function (name) { return make("th", { scope: "col", text: name }); });
    root.append(make("div", { class: "scroll" }, make("table", { class: "wide log" }, make("thead", null, make("tr", null, head)), body)), more);
    function fill() {
      const wanted = kept.text.toLowerCase().split(/\s+/).filter(Boolean);
      const found = data.records.filter(function (r) {
        const all = (r.utc + " " + r.event + " " + r.text).toLowerCase();
        return (!kept.event || r.event === kept.event) && (!kept.round || String(r.round) === kept.round) && wanted.every(function (w) { return all.includes(w); });
      });
      body.replaceChildren(...found.slice(0, most).map(function (r) {
        return make("tr", null, make("td", { text: r.utc }), make("td", { text: String(r.round) }), make("td", { text: r.event }), make("td", { class: "text", text: r.text }));
      }));
      more.hidden = found.length <= most;
      count.textContent = found.length + " of " + (data.records.length + data.left_off) + " records" + (data.left_off ? ", of which the newest " + data.records.length + " are here" : "");
    }
    fill();
  };
}());
