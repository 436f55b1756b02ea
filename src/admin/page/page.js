// The page is whole without this. With it: parts refresh by themselves, charts can be read minute by minute, commands can be copied.
"use strict";
(() => {
  const EVERY = 5000;
  let timer = 0;

  // The same page is fetched again; parts that changed are put in place. A part somebody works in is left alone.
  const isInUse = (part) => {
    const selection = document.getSelection();
    const selects = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return selects || (part.contains(document.activeElement) && document.activeElement !== document.body);
  };
  const keep = (old, fresh) => {
    for (const open of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
  };
  // As the relay sent it, before the script touched it.
  const sent = new WeakMap();
  const remember = () => { for (const part of document.querySelectorAll("[data-live]")) if (!sent.has(part)) sent.set(part, part.innerHTML); };
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const ours = document.querySelectorAll("[data-live]");
      if (next.querySelectorAll("main [data-live]").length !== document.querySelectorAll("main [data-live]").length) {
        const main = document.querySelector("main");
        if (!isInUse(main)) { keep(main, next.querySelector("main")); main.replaceChildren(...next.querySelector("main").childNodes); }
      } else {
        for (const part of ours) {
          const fresh = next.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
          if (!fresh || sent.get(part) === fresh.innerHTML || isInUse(part)) continue;
          sent.set(part, fresh.innerHTML);
          keep(part, fresh);
          part.replaceChildren(...fresh.childNodes);
        }
      }
      remember();
      enhance();
      document.documentElement.dataset.fresh = "yes";
    } catch {
      document.documentElement.dataset.fresh = "no";
    }
  };
  const again = () => {
    clearInterval(timer);
    if (!document.hidden) timer = setInterval(refresh, EVERY);
  };

  // Under the pointer or the arrow keys: which minute, and how many.
  const read = (chart, at) => {
    const counts = chart.dataset.counts.split(" ");
    const rest = chart.querySelector(".total");
    let line = chart.querySelector(".here");
    if (at === null) { if (line) line.remove(); rest.textContent = rest.dataset.text || rest.textContent; return; }
    rest.dataset.text ||= rest.textContent;
    if (!line) { line = document.createElement("span"); line.className = "here"; chart.querySelector(".plot").append(line); }
    line.style.left = `${(at + 0.36) / counts.length * 100}%`;
    const from = new Date((Number(chart.dataset.begins) + at * Number(chart.dataset.step)) * 1000);
    rest.textContent = `${from.toISOString().slice(11, 16)}: ${Number(counts[at]).toLocaleString("en")}`;
  };
  const enhance = () => {
    for (const title of document.querySelectorAll(".plot rect > title")) title.remove();
    for (const code of document.querySelectorAll(".command code, pre > code")) {
      if (code.dataset.copies) continue;
      code.dataset.copies = "yes";
      const button = document.createElement("button");
      button.type = "button"; button.className = "copy"; button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy: " + code.textContent);
      button.addEventListener("click", async () => {
        try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; } catch { getSelection().selectAllChildren(code); }
      });
      (code.closest("pre") || code).after(button);
    }
  };
  document.addEventListener("pointermove", (event) => {
    const plot = event.target.closest && event.target.closest(".plot");
    for (const chart of document.querySelectorAll(".chart")) if (!plot || !chart.contains(plot)) { if (chart.querySelector(".here")) read(chart, null); }
    if (!plot) return;
    const chart = plot.closest(".chart"), box = plot.getBoundingClientRect(), many = chart.dataset.counts.split(" ").length;
    read(chart, Math.max(0, Math.min(many - 1, Math.floor((event.clientX - box.left) / box.width * many))));
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); again(); });
  remember();
  enhance();
  again();
})();
