"use strict";
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const key = `slvr-audit-${told.set}`;
  const one = (id) => document.getElementById(id);
  const items = [...document.querySelectorAll(".item")];
  if (!items.length) return;

  // What is judged, in order: the profile of a region, then its questions.
  const targets = items.flatMap((item, place) => [...item.querySelectorAll(".target")].map((element) => ({
    element, item, place, id: element.dataset.id, kind: element.dataset.kind, title: element.querySelector("h3").textContent,
    region: item.querySelector(".target").dataset.id,
  })));
  const byId = new Map(targets.map((target, index) => [target.id, index]));
  let at = 0;

  // Verdicts lie in localStorage, one entry per set and judge: {id: {verdict, class, note, time}}.
  let stored = true;
  function read(name) {
    try {
      return JSON.parse(localStorage.getItem(name)) ?? {};
    } catch {
      return {};
    }
  }
  function write(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      if (stored) say("This browser does not keep verdicts between visits: save before you leave.", true);
      stored = false;
    }
  }
  let judge = read(key).judge ?? "";
  let verdicts = read(`${key}/${judge}`);

  function say(text, bad = false) {
    one("status").textContent = text;
    one("status").style.color = bad ? "var(--bad)" : "";
  }
  function put(id, entry) {
    const others = stored ? read(`${key}/${judge}`) : {}; // another tab may have judged meanwhile
    verdicts = { ...verdicts, ...others, [id]: entry };
    write(`${key}/${judge}`, verdicts);
  }
  // A new name goes on with what that judge has said before; verdicts given without a name go with the first name.
  function become(name) {
    if (name === judge) return;
    const unnamed = judge ? {} : verdicts;
    const before = judge;
    judge = name;
    verdicts = { ...read(`${key}/${judge}`), ...unnamed };
    write(key, { judge });
    write(`${key}/${judge}`, verdicts);
    if (!before) write(`${key}/`, {});
    one("judge").value = judge;
    if (before) at = firstOpen();
    paint();
  }
  const firstOpen = () => Math.max(0, targets.findIndex(({ id }) => !verdicts[id]?.verdict));

  const words = (entry) => (entry.verdict === "wrong" ? `wrong: ${entry.class}` : entry.verdict ?? "");
  function mark(target) {
    const entry = verdicts[target.id] ?? {};
    const line = target.element.querySelector(".mark");
    line.textContent = [words(entry), entry.note].filter(Boolean).join(" - ");
    line.hidden = !line.textContent;
    line.style.color = { right: "var(--good)", wrong: "var(--bad)" }[entry.verdict] ?? "var(--soft)";
  }
  function paint() {
    targets.forEach(mark);
    show();
  }
  function show() {
    const target = targets[at];
    const entry = verdicts[target.id] ?? {};
    items.forEach((item, place) => item.classList.toggle("now", place === target.place));
    targets.forEach(({ element }, index) => {
      element.classList.toggle("on", index === at);
      if (index === at) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    });
    for (const button of document.querySelectorAll("[data-verdict]")) {
      const same = button.dataset.verdict === entry.verdict && (button.dataset.class ?? null) === (entry.class ?? null);
      button.setAttribute("aria-pressed", String(same));
    }
    if (document.activeElement !== one("note")) one("note").value = entry.note ?? "";
    const done = targets.filter(({ id }) => verdicts[id]?.verdict).length;
    one("done").max = targets.length;
    one("done").value = done;
    one("where").textContent =
      `Region ${target.place + 1} of ${items.length}, ${target.title} · ${done} of ${targets.length} judged`;
  }
  function go(index) {
    const before = targets[at].place;
    at = Math.min(targets.length - 1, Math.max(0, index));
    one("note").blur();
    show();
    const moved = targets[at].place !== before;
    if (moved) targets[at].item.scrollIntoView({ block: "start" });
    else targets[at].element.scrollIntoView({ block: "nearest" });
  }
  const goRegion = (step) => {
    const place = Math.min(items.length - 1, Math.max(0, targets[at].place + step));
    go(targets.findIndex((target) => target.place === place));
  };
  function goOpen() {
    const open = (from, to) => targets.findIndex(({ id }, i) => i >= from && i < to && !verdicts[id]?.verdict);
    const next = open(at + 1, targets.length);
    const found = next >= 0 ? next : open(0, at + 1);
    if (found >= 0) go(found);
    else say("Everything has a verdict: save it.");
  }

  function give(verdict, error) {
    const target = targets[at];
    put(target.id, { verdict, class: error ?? null, note: one("note").value.trim(), time: new Date().toISOString() });
    mark(target);
    if (verdict && at + 1 < targets.length) go(at + 1);
    else show();
  }
  function note() {
    const target = targets[at];
    const entry = verdicts[target.id] ?? { verdict: null, class: null };
    put(target.id, { ...entry, note: one("note").value.trim(), time: new Date().toISOString() });
    mark(target);
  }

  function save() {
    become(one("judge").value.trim());
    if (!judge) {
      one("judge").focus();
      return say("Write the judge's name first.", true);
    }
    const said = targets.filter(({ id }) => verdicts[id] && (verdicts[id].verdict || verdicts[id].note));
    const file = {
      format: told.format, version: told.version, set: told.set, seed: told.seed, n: told.n, judge,
      saved: new Date().toISOString(),
      items: said.map(({ id, kind, region }) => {
        const { verdict, class: error, note, time } = verdicts[id];
        return { id, kind, region_id: region, verdict, class: error, note, time };
      }),
    };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], { type: "application/json" }));
    link.download = `audit-${told.set.slice(0, 12)}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    return say(`Saved ${said.length} of ${targets.length} as ${link.download}.`);
  }

  const fits = (entry) => entry && (entry.verdict === "wrong" ? told.classes.includes(entry.class)
    : (entry.class ?? null) === null && [null, "right", "cannot tell"].includes(entry.verdict));
  function take(text) {
    const file = JSON.parse(text);
    if (file?.format !== told.format || !Array.isArray(file.items) || typeof file.judge !== "string") {
      return say("That is not a file that this page saved.", true);
    }
    if (file.set !== told.set) return say(`That file judges another set: ${file.set}; this is ${told.set}.`, true);
    become(file.judge.trim());
    let taken = 0;
    const merged = { ...verdicts };
    for (const entry of file.items.filter((item) => byId.has(item?.id) && fits(item))) {
      const { verdict, class: error, note, time } = entry;
      if (String(time) < String(merged[entry.id]?.time ?? "")) continue; // what was said later stays
      merged[entry.id] = { verdict, class: error ?? null, note: String(note ?? ""), time: String(time ?? "") };
      taken += 1;
    }
    verdicts = merged;
    write(`${key}/${judge}`, verdicts);
    paint();
    return say(`Loaded ${taken} of ${file.items.length} verdicts of ${judge}.`);
  }

  one("load").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (!file) return;
    file.text().then(take).catch((error) => say(`The file cannot be read: ${error.message}`, true));
    event.target.value = "";
  });
  one("save").addEventListener("click", save);
  one("judge").addEventListener("change", () => become(one("judge").value.trim()));
  one("open").addEventListener("click", goOpen);
  one("back").addEventListener("click", () => give(null));
  one("note").addEventListener("input", note);
  one("bar").addEventListener("submit", (event) => event.preventDefault());
  one("bar").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.verdict) give(button.dataset.verdict, button.dataset.class);
    if (button?.dataset.go) goRegion(Number(button.dataset.go));
  });
  for (const [index, { element }] of targets.entries()) {
    element.addEventListener("click", () => { if (getSelection().isCollapsed) go(index); });
  }

  const keys = {
    ArrowRight: () => goRegion(1), ArrowLeft: () => goRegion(-1), j: () => go(at + 1), k: () => go(at - 1),
    u: goOpen, n: () => one("note").focus(), s: save, o: () => document.body.classList.toggle("bare"),
  };
  const verdictKeys = { r: () => give("right"), 0: () => give("cannot tell"), Backspace: () => give(null) };
  told.classes.forEach((name, index) => { verdictKeys[index + 1] = () => give("wrong", name); });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input")) {
      if (event.key === "Enter" || event.key === "Escape") event.target.blur();
      return;
    }
    const name = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const verdict = verdictKeys[name];
    const act = verdict ?? keys[name];
    if (!act) return;
    event.preventDefault();
    if (!(verdict && event.repeat)) act(); // a key held down judges one item
  });

  new ResizeObserver(() => document.body.style.setProperty("--bar", `${one("bar").offsetHeight}px`)).observe(one("bar"));
  document.body.classList.add("live");
  one("tools").hidden = one("bar").hidden = false;
  one("judge").value = judge;
  at = firstOpen();
  paint();
})();
