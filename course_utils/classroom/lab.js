// The page's side of a lab: native controls, a line in words, the picture.
//
// A value goes to the kernel as soon as it is chosen; the next one waits until the picture of the
// last has come, so that nothing piles up and the last value wins. With a recording instead of a
// kernel (see `replay` at the end) the same page steps through pictures that were made before.

const ANSWER_WITHIN = 300;          // milliseconds, after which the page says that it waits

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function isDark(node) {
  if (document.body.dataset.jpThemeLight) return document.body.dataset.jpThemeLight === "false";
  if (document.documentElement.dataset.theme) return document.documentElement.dataset.theme === "dark";
  const [red, green, blue] = (getComputedStyle(node).color.match(/\d+/g) ?? [0, 0, 0]).map(Number);
  return red + green + blue > 3 * 140;              // light ink stands on a dark page
}

// One control: its label, the control itself, what it reads, and how it is set.
function makeControl(spec, id, changed) {
  const label = element("label", { textContent: spec.label, htmlFor: id });
  const last = spec.texts.length - 1;
  if (spec.kind === "choice") {
    const select = element("select", { id, className: "wide" });
    select.append(...spec.texts.map((text, place) => element("option", { textContent: text, value: place })));
    select.addEventListener("change", () => changed(spec.name, Number(select.value)));
    return { parts: [label, select], input: select, put: place => { select.value = place; } };
  }
  if (spec.kind === "switch") {
    const box = element("input", { id, type: "checkbox" });
    box.addEventListener("change", () => changed(spec.name, Number(box.checked)));
    return { parts: [label, element("span", { className: "wide" }, box)], input: box, put: place => { box.checked = Boolean(place); } };
  }
  const range = element("input", { id, type: "range", min: 0, max: last, step: 1 });
  const readout = element("span", { className: "readout" });
  readout.setAttribute("aria-hidden", "true");      // the slider itself says it: aria-valuetext
  const put = place => {
    range.value = place;
    readout.textContent = spec.texts[place];
    range.setAttribute("aria-valuetext", spec.texts[place]);
  };
  range.addEventListener("input", () => { put(Number(range.value)); changed(spec.name, Number(range.value)); });
  return { parts: [label, range, readout], input: range, put };
}

function build(root, look) {
  const id = `course-lab-${Math.random().toString(36).slice(2, 9)}`;
  const page = { places: {}, controls: {}, buttons: {} };
  root.classList.add("course-lab");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Lab: ${look.name}`);
  const grid = element("div", { className: look.controls.length > 4 ? "controls two" : "controls" });
  look.controls.forEach((spec, number) => {
    const control = makeControl(spec, `${id}-${number}`, (name, place) => page.change(name, place));
    page.controls[spec.name] = control;
    grid.append(...control.parts);
  });
  const row = element("div", { className: "buttons" });
  const names = look.recorded ? ["reset"] : ["stop", "reset", "pause", "step"];
  if (look.code) names.push("code");
  for (const name of [...names, ...(look.recorded ? [] : look.actions)]) {
    const text = { stop: "Stop", reset: "Reset", pause: "Pause", step: "Step", code: "Copy as Config" }[name] ?? name;
    const button = element("button", { type: "button", textContent: text });
    button.addEventListener("click", () => page.press(name));
    page.buttons[name] = button;
    row.append(button);
  }
  if (look.live && !look.recorded) {
    page.live = element("input", { type: "checkbox", id: `${id}-live` });
    row.append(page.live, element("label", { htmlFor: `${id}-live`, textContent: "turn while it trains" }));
  }
  page.status = element("div", { className: "status" });
  page.spoken = element("div", { className: "unseen" });
  page.spoken.setAttribute("role", "status");        // speaks at the start and at the end alone
  page.picture = element("img", { width: look.width, height: look.height, alt: look.name, draggable: false });
  page.log = element("div", { className: "log" });
  page.log.tabIndex = -1;
  page.earlier = element("div", { className: "earlier" });
  page.code = element("pre", { hidden: true });
  root.append(grid, row, element("div", { className: "bar" }), page.status, page.spoken,
    element("div", { className: "shown" }, page.picture, page.log), page.earlier, page.code);
  return page;
}

// What a frame says goes into the page. `spoken` is for ears.
function show(root, page, frame) {
  const wasBusy = root.classList.contains("busy");
  root.classList.toggle("busy", frame.busy);
  page.status.textContent = frame.text;
  page.picture.alt = `${page.name}. ${frame.text}`;
  if (frame.busy && !wasBusy) page.spoken.textContent = "training";
  if (!frame.busy && page.spoken.textContent !== frame.text) page.spoken.textContent = frame.text;
  page.earlier.textContent = frame.earlier.length ? `Before, in grey: ${frame.earlier.join("; ")}` : "";
  if (page.buttons.stop) {
    page.buttons.stop.disabled = page.buttons.pause.disabled = page.buttons.step.disabled = !frame.busy;
    page.buttons.pause.textContent = frame.paused ? "Go on" : "Pause";
  }
  const rows = frame.table.map((cells, number) =>
    element("tr", {}, ...cells.map(text => element(number ? "td" : "th", { textContent: text }))));
  page.log.replaceChildren(...(rows.length ? [element("table", {}, ...rows)] : []));
  page.log.tabIndex = page.log.scrollHeight > page.log.clientHeight ? 0 : -1;
}

// The notebook around a lab takes arrows, Enter and Space for itself, some (Notebook 7) before they
// reach the page's elements: so they end at the window. What a control does with them stays.
function keepKeys(root) {
  const keep = event => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (plain && root.contains(event.target)) event.stopPropagation();
  };
  window.addEventListener("keydown", keep, true);
  return () => window.removeEventListener("keydown", keep, true);
}

function render({ model, el }) {
  const root = element("div");
  el.append(root);
  const look = model.get("look");
  const page = Object.assign(build(root, look), { name: look.name });
  const leaveKeys = keepKeys(root);
  let number = 0, answered = 0, waiting = null, timer = null, address = null;

  const send = message => model.send(message);
  const late = () => {
    page.status.textContent = "waits: another cell is running, or the kernel is gone (then run this cell again)";
  };
  const ask = message => {
    number += 1;
    send({ ...message, number });
    clearTimeout(timer);
    timer = setTimeout(late, ANSWER_WITHIN);
  };
  // At most one request is under way: what is chosen meanwhile waits here, the newest alone.
  const offer = message => {
    if (number > answered) waiting = message;
    else ask(message);
  };
  page.change = (name, place) => {
    const places = { ...(waiting?.places ?? {}), [name]: place };
    offer({ kind: "set", places, live: Boolean(page.live?.checked) });
  };
  page.press = button => { waiting = null; ask({ kind: "press", button }); };
  if (look.point) follow(page.picture, (x, y) => offer({ kind: "point", x, y }));

  const hear = (message, buffers) => {
    clearTimeout(timer);
    if (message.kind === "code") return copy(page, message.code);
    answered = Math.max(answered, message.number, message.kind === "frame" ? 0 : number);
    if (buffers?.length && buffers[0].byteLength) {
      const fresh = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      page.picture.src = fresh;
      if (address) setTimeout(URL.revokeObjectURL, 2000, address);
      address = fresh;
    }
    show(root, page, message);
    const untouched = !waiting && number <= message.number;
    for (const [name, place] of Object.entries(message.places)) {
      if (untouched) page.controls[name].put(place);
    }
    if (waiting && number <= answered) {
      const next = waiting;
      waiting = null;
      ask(next);
    }
  };
  model.on("msg:custom", hear);
  const greet = () => send({ kind: "hello", dark: isDark(root) });
  const watcher = new MutationObserver(greet);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  requestAnimationFrame(greet);
  return () => { model.off("msg:custom", hear); watcher.disconnect(); leaveKeys(); clearTimeout(timer); };
}

function follow(image, moved) {
  image.classList.add("point");
  const tell = event => {
    const box = image.getBoundingClientRect();
    moved((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  image.addEventListener("pointerdown", event => { image.setPointerCapture(event.pointerId); tell(event); });
  image.addEventListener("pointermove", event => { if (event.buttons) tell(event); });
}

async function copy(page, code) {
  page.code.textContent = code;
  page.code.hidden = !code;
  try {
    await navigator.clipboard.writeText(code);
    page.spoken.textContent = "copied; it also stands below the lab";
  } catch {
    page.spoken.textContent = "it stands below the lab";   // not every page may use the clipboard
  }
}

// Which recorded setting to show, when `wanted` is: itself, or the nearest that has the last move.
function nearestRecorded(states, wanted, moved) {
  if (wanted.join() in states) return wanted;
  const far = places => places.reduce((sum, place, number) =>
    sum + (place === wanted[number] ? 0 : 100 + Math.abs(place - wanted[number])), 0);
  return Object.keys(states).map(key => key.split(",").map(Number))
    .filter(places => places[moved] === wanted[moved])
    .reduce((best, places) => (far(places) < far(best) ? places : best));
}

// A recording in place of a kernel: settings that were recorded, with their pictures (files in
// `folder`), words and code. tools/record_labs.py makes it.
function replay(el, recording, folder) {
  const { look, states, start } = recording;
  const root = element("div"), names = look.controls.map(spec => spec.name);
  const page = Object.assign(build(root, look), { name: look.name });
  const file = places => `${folder}/${states[places.join()].picture}`;
  let shown = start;

  const put = (places, note = "") => {
    const state = states[places.join()];
    shown = places;
    names.forEach((name, number) => page.controls[name].put(places[number]));
    page.picture.src = file(places);
    show(root, page, { ...state, text: state.text + note, busy: false, paused: false, earlier: [] });
    page.code.textContent = state.code;
    page.code.hidden = !state.code;
  };
  page.change = (name, place) => {
    const moved = names.indexOf(name);
    const wanted = shown.map((old, number) => (number === moved ? place : old));
    const places = nearestRecorded(states, wanted, moved);
    const others = look.controls.filter((_, number) => places[number] !== wanted[number]);
    put(places, others.length ? ` (Not recorded together with ${others.map(spec => spec.label).join(", ")}, which moved back.)` : "");
    for (const step of [-2, -1, 1, 2]) {             // what a hand that goes on will ask for next
      const next = places.map((old, number) => (number === moved ? old + step : old));
      if (next.join() in states) new Image().src = file(next);
    }
  };
  page.press = button => (button === "reset" ? put(start) : copy(page, states[shown.join()].code));
  put(start);
  root.append(element("div", { className: "about", textContent: recording.about }));
  el.replaceChildren(root);
}

export default { render, replay };
