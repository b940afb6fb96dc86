// Pages that follow what happens: the server tells (live.rs), and only what says something else is put in the place of what was there.
(() => {
  "use strict";
  const main = document.querySelector("main[data-live]"), note = document.querySelector("#following");
  if (!main || !note || !window.EventSource) return;
  // Three beats of the server.
  const SILENCE = 6000, AGAIN = 1000, LATER = 10000;
  const told = main.dataset.live === "told";
  let source, silence, again, newest, waits = false, isHeld = false, isOver = false;

  const say = (words, link) => {
    if (note.dataset.says === words) return;
    note.dataset.says = words;
    note.replaceChildren();
    if (!words) return;
    const p = document.createElement("p");
    p.className = "notice";
    p.append(words);
    if (link) {
      const a = document.createElement("a");
      a.href = location.pathname + location.search;
      a.textContent = link;
      p.append(" ", a);
    }
    note.append(p);
  };

  // What stands for the same thing before and after: by its name, or the heading it has.
  const keyed = (parent) => {
    const found = new Map();
    for (const one of parent.children) {
      const name = one.id || one.querySelector(":scope > h2")?.textContent || one.className;
      let key = `${one.localName} ${name}`;
      while (found.has(key)) key += "+";
      found.set(key, one);
    }
    return found;
  };
  const isTyped = (field) => field === document.activeElement
    || (field.localName === "select" ? field.selectedIndex !== Math.max(0, [...field.options].findIndex((one) => one.defaultSelected))
      : field.type !== "hidden" && field.type !== "submit" && (field.value !== field.defaultValue || field.checked !== field.defaultChecked));
  const isInUse = (one) => {
    const marked = getSelection();
    return (!marked.isCollapsed && marked.rangeCount > 0 && marked.getRangeAt(0).intersectsNode(one))
      || [...one.querySelectorAll("input, textarea, select")].some(isTyped);
  };
  const twin = (one, next) => [...next.querySelectorAll(one.localName)]
    .find((other) => other.id === one.id && other.href === one.href && other.textContent === one.textContent);

  // What somebody reads before they sign comes with its form: following brings none in, and changes none.
  const signed = (form) => [form.action, ...[...form.querySelectorAll("[type=hidden]")].map((one) => `${one.name}=${one.value}`)].join();
  const isBusy = (form) => isInUse(form) || form.contains(document.activeElement) || form.querySelector(":disabled") !== null;
  const decides = (fresh) => {
    const comes = [...fresh.querySelectorAll("form[data-passkey]")], is = [...main.querySelectorAll("form[data-passkey]")];
    const goes = is.filter((one) => !comes.some((other) => signed(other) === signed(one)));
    if (goes.some(isBusy)) return false;
    for (const one of comes.filter((other) => !is.some((same) => signed(same) === signed(other)))) {
      const p = document.createElement("p"), a = document.createElement("a");
      a.href = location.pathname + location.search;
      a.textContent = "Load the page to decide";
      p.append("What is to be decided came in while you read. ", a, ".");
      one.replaceWith(p);
    }
    return true;
  };
  const changed = () => say("What is shown here has changed since. Load it again before you decide.", "Load it again");

  const replace = (old, next) => {
    if (next.querySelector("form[data-passkey]")) return;
    const were = [...old.querySelectorAll("details")];
    next.querySelectorAll("details").forEach((one, at) => {
      if (were[at]?.firstElementChild.textContent === one.firstElementChild.textContent) one.open = were[at].open;
    });
    if (old.isEqualNode(next)) return;
    const active = document.activeElement, has = old.contains(active), focus = has && twin(active, next);
    if (isInUse(old) || (has && !focus)) { waits = true; return; }
    const scrolled = [...old.querySelectorAll("pre")].map((one) => one.scrollTop);
    old.replaceWith(next);
    next.querySelectorAll("pre").forEach((one, at) => { one.scrollTop = scrolled[at] ?? 0; });
    if (focus) focus.focus({ preventScroll: true });
  };

  const show = (html) => {
    newest = html;
    waits = false;
    const fresh = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html").querySelector("main");
    isHeld = !decides(fresh);
    if (isHeld) { waits = true; changed(); return; }
    const olds = keyed(main);
    let before = null;
    for (const [key, next] of keyed(fresh)) {
      const old = olds.get(key);
      olds.delete(key);
      if (old) replace(old, next);
      else if (before) before.after(next);
      else main.prepend(next);
      before = old?.isConnected ? old : next;
    }
    for (const old of olds.values()) {
      if (isInUse(old) || old.contains(document.activeElement)) waits = true;
      else old.remove();
    }
    const state = document.querySelector("#state"), says = main.querySelector(".title, .lead")?.textContent.trim() ?? "";
    if (state && state.textContent !== says) state.textContent = says;
  };
  // What was kept because somebody was at it follows once they have left it.
  const left = () => setTimeout(() => { if (waits) { if (isHeld) say(""); show(newest); } }, 300);
  document.addEventListener("focusout", left);
  document.addEventListener("selectionchange", left);

  const close = () => { clearTimeout(silence); clearTimeout(again); source?.close(); source = undefined; };
  const end = () => { close(); isOver = true; document.querySelector(".live-hint")?.remove(); };
  const lost = async () => {
    close();
    say("The connection to the server is lost. What stands here is from before; it is tried again every second.");
    again = setTimeout(async () => {
      try {
        const answer = await fetch(location.href, { method: "HEAD", credentials: "same-origin", signal: AbortSignal.timeout(SILENCE) });
        if (answer.status === 401) { end(); say("You are signed out: the session has ended, or the server was started anew.", "Sign in again"); return; }
        if (answer.ok) { open(); return; }
      } catch { /* The server is away. */ }
      lost();
    }, AGAIN);
  };
  const open = () => {
    close();
    const address = new URL(location.href);
    address.hash = "";
    if (told || !newest) address.searchParams.set("seen", main.dataset.edition);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(lost, SILENCE);
      if (!isHeld) say("");
    };
    source = new EventSource(address);
    silence = setTimeout(lost, SILENCE);
    source.addEventListener("error", lost);
    source.addEventListener("beat", heard);
    source.addEventListener("page", (event) => { heard(); show(JSON.parse(event.data)); });
    source.addEventListener("end", (event) => { say(""); show(JSON.parse(event.data)); end(); });
    source.addEventListener("changed", () => { end(); changed(); });
    source.addEventListener("over", () => { end(); say("You are signed out: the session has ended.", "Sign in again"); });
    source.addEventListener("full", () => {
      close();
      say("Several other pages follow what happens; this one stands still until one of them is closed.");
      again = setTimeout(open, LATER);
    });
  };
  // A page that nobody sees needs no connection.
  document.addEventListener("visibilitychange", () => { if (!isOver) { if (document.hidden) close(); else open(); } });
  if (!document.hidden) open();
})();
