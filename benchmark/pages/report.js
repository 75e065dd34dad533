// Filters and keys of the samples. The page is whole without this script.
(() => {
  "use strict";
  const told = JSON.parse(document.getElementById("told").textContent);
  const items = [...document.querySelectorAll(".item")];
  if (!items.length) return;
  const one = (id) => document.getElementById(id);
  const texts = items.map((item) => item.textContent.toLowerCase());
  const buttons = [...document.querySelectorAll("#tools [data-class]")];
  let wanted = "";
  let at = -1;

  function fits(index) {
    const { classes, facets } = told[index];
    const of = one("of")?.value ?? "0";
    if (of === "differ") {
      if (new Set(classes.filter(Boolean)).size < 2 || (wanted && !classes.includes(wanted))) return false;
    } else if (wanted && classes[Number(of)] !== wanted) return false;
    if (one("facet").value && !facets.includes(one("facet").value)) return false;
    return texts[index].includes(one("search").value.trim().toLowerCase());
  }
  const visible = () => items.flatMap((item, index) => (item.hidden ? [] : [index]));

  function filter() {
    items.forEach((item, index) => { item.hidden = !fits(index); });
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.class === wanted)));
    if (at >= 0 && items[at].hidden) mark(-1);
    tell();
  }
  function tell() {
    const shown = visible();
    const place = at >= 0 ? `, at ${shown.indexOf(at) + 1}` : "";
    one("shown").textContent = `${shown.length} of ${items.length} samples${place} · keys: j k next and previous, ` +
      "1 to 4 class, 0 all, v other variants, o outlines";
  }
  function mark(index) {
    items[at]?.classList.remove("on");
    at = index;
    items[at]?.classList.add("on");
  }
  function step(by) {
    const shown = visible();
    if (!shown.length) return;
    const here = shown.indexOf(at);
    const next = here < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, Math.max(0, here + by));
    mark(shown[next]);
    items[at].focus({ preventScroll: true });
    items[at].scrollIntoView({ block: "start" });
    tell();
  }
  function choose(name) {
    wanted = name;
    filter();
  }

  buttons.forEach((button) => button.addEventListener("click", () => choose(button.dataset.class)));
  for (const id of ["of", "facet"]) one(id)?.addEventListener("change", filter);
  one("search").addEventListener("input", filter);
  one("tools").addEventListener("submit", (event) => event.preventDefault());
  const keys = {
    j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    o: () => document.body.classList.toggle("bare"),
    v: () => items[at]?.querySelectorAll("details").forEach((part) => { part.open = !part.open; }),
    "/": () => one("search").focus(),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    const act = digit && buttons[digit] ? () => choose(buttons[digit].dataset.class)
      : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || (event.key.startsWith("Arrow") && event.target.closest(".scroll"))) return; // a wide table scrolls
    event.preventDefault();
    act();
  });

  const bar = one("tools");
  new ResizeObserver(() => {
    const sticky = getComputedStyle(bar).position === "sticky";
    document.body.style.setProperty("--bar", `${sticky ? bar.offsetHeight : 0}px`);
  }).observe(bar);
  document.body.classList.add("live");
  bar.hidden = false;
  filter();
})();
