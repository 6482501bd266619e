// What all views share: elements without HTML text, numbers, choices, dialogs, and the frame of a frozen page.
"use strict";
window.stimsynth = (function () {
  const SVG = "http://www.w3.org/2000/svg";

  // An element: properties by name, "on..." as listeners, the rest as attributes; children are nodes or text.
  function fill(node, properties, children) {
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "text") node.textContent = value;
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(3)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }
  function make(tag, properties, ...children) { return fill(document.createElement(tag), properties, children); }
  function draw(tag, properties, ...children) { return fill(document.createElementNS(SVG, tag), properties, children); }

  function known(value) { return typeof value === "number" && Number.isFinite(value); }
  function number(value, digits) { return known(value) ? value.toFixed(digits === undefined ? 2 : digits) : "-"; }
  function percent(value) { return known(value) ? (100 * value).toFixed(0) + " %" : "-"; }
  function signed(value, digits) { return known(value) ? (value > 0 ? "+" : "") + number(value, digits) : "-"; }
  function interval(low, high, digits) {
    return known(low) && known(high) ? "[" + number(low, digits) + ", " + number(high, digits) + "]" : "";
  }
  function gain(verdict) {
    if (!verdict || !known(verdict.gain)) return "-";
    const share = verdict.unit === "fraction";
    const one = function (v) { return share ? (v > 0 ? "+" : "") + (100 * v).toFixed(0) + " %" : signed(v); };
    const ends = known(verdict.low) && known(verdict.high) ? " [" + one(verdict.low) + ", " + one(verdict.high) + "]" : " [unbounded]";
    return one(verdict.gain) + ends + (share ? "" : " " + verdict.unit);
  }

  // A labelled choice; options are [value, text].
  function choice(label, options, value, change) {
    const select = make("select", { onchange: function () { change(select.value); } },
      options.map(function (option) { return make("option", { value: option[0], selected: option[0] === value }, option[1]); }));
    return make("label", null, label + " ", select);
  }
  function check(label, value, change) {
    const box = make("input", { type: "checkbox", checked: value, onchange: function () { change(box.checked); } });
    return make("label", null, box, " " + label);
  }

  // A modal dialog; Esc closes it and the focus goes back to where it was.
  function dialog(title, body, keys) {
    const back = document.activeElement;
    const close = make("button", { type: "button", class: "close", "aria-label": "close", onclick: function () { box.close(); } }, "\u00d7");
    const box = make("dialog", { class: "box", "aria-label": title }, make("div", { class: "head" }, make("h3", { text: title }), close), body);
    box.addEventListener("keydown", function (event) {
      if (keys && keys[event.key] && event.target.tagName !== "INPUT") { event.preventDefault(); keys[event.key](); }
    });
    box.addEventListener("close", function () { box.remove(); if (back && back.isConnected) back.focus(); });
    document.body.append(box);
    box.showModal();
    return box;
  }

  function nothing(root, data) {
    if (!data || !data.nothing) return false;
    root.append(make("p", { class: "empty", text: data.nothing.text }));
    if (data.nothing.command) root.append(make("p", { class: "empty" }, "Try: ", make("code", { text: data.nothing.command })));
    return true;
  }
  function note(root, text) { if (text) root.append(make("p", { class: "sub", text: text })); }

  // An image with words for those who do not see it; `full`: not a reduced one, where there is a server.
  function picture(context, id, alt, more) {
    const full = Boolean(more && more.full), source = id ? context.image(id, full) : null;
    if (full) more = Object.assign({}, more, { full: null });
    if (!source) return make("span", Object.assign({ class: "noimage", role: "img", "aria-label": alt }, more), "not kept");
    return make("img", Object.assign({ src: source, alt: alt, loading: "lazy", draggable: "false" }, more));
  }

  // Ends and ticks of an axis: round steps of 1, 2 or 5.
  function ticks(low, high, count) {
    const span = high - low || 1, raw = span / Math.max(1, count), power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = power * [1, 2, 5, 10].find(function (m) { return m * power >= raw * 0.999; });
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9 * span; v += step) found.push(Math.abs(v) < step * 1e-6 ? 0 : v);
    return found;
  }
  function tick(value) { return String(Number(value.toPrecision(6))); }

  return {
    views: {}, make: make, draw: draw, known: known, number: number, percent: percent, signed: signed, interval: interval, gain: gain,
    choice: choice, check: check, dialog: dialog, nothing: nothing, note: note, picture: picture, ticks: ticks, tick: tick,
    colours: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"],
    verdicts: { "control": "#009E73", "no control": "#D55E00" },
  };
}());
