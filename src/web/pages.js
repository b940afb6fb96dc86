// Keys. Every page is whole without them, and nothing here decides.
(() => {
  "use strict";
  const go = (address) => { location.href = address; };
  const sections = [...document.querySelectorAll("nav a[data-key]")];
  const rows = () => [...document.querySelectorAll("main a.row, main table.list tbody tr > :first-child a, main .matrix a.release")];
  const keys = [["?", "these keys"], ...sections.map((a) => [`g ${a.dataset.key}`, a.textContent]), ["j  k", "next, previous"], ["Enter", "open"], ["Esc", "close"]];
  let help, began = false;

  const show = () => {
    if (!help) {
      help = document.createElement("dialog");
      help.setAttribute("aria-label", "Keys");
      const title = document.createElement("h2");
      title.textContent = "Keys";
      const list = document.createElement("dl");
      for (const [key, word] of keys) {
        const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
        kbd.textContent = key;
        dd.textContent = word;
        dt.append(kbd);
        list.append(dt, dd);
      }
      const close = document.createElement("button");
      close.textContent = "Close";
      close.addEventListener("click", () => help.close());
      help.append(title, list, close);
      document.body.append(help);
    }
    help.showModal();
  };

  const step = (by) => {
    const all = rows(), at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };

  document.addEventListener("pointerdown", () => { began = false; });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    if (event.key === "Shift") return;
    // However long the second key takes: who presses slowly gets there, too. Any other key ends the wait, and does what it does.
    const section = began && sections.find((a) => a.dataset.key === event.key);
    began = false;
    if (section) { event.preventDefault(); go(section.href); return; }
    const action = { "?": show, j: () => step(1), k: () => step(-1), g: () => { began = true; } }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
})();
