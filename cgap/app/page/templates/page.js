"use strict";
(() => {
  const data = JSON.parse(document.getElementById("tl-data").textContent);
  const canvas = document.getElementById("tl"), out = document.getElementById("tl-out"), end = Math.max(1, data.end);
  const kinds = data.kinds.map(kind => kind.startsWith("load") ? (kind.includes("feature") ? "read" : "tensor1") : kind.startsWith("store") ? "write" : "array");
  const rows = data.units.map((_, unit) => data.events.filter(e => e[0] === unit).sort((a, b) => a[2] - b[2]));
  const left = 72, top = 8, band = 46, gap = 8;
  let from = 0, span = end, drag = null;
  const number = value => Math.round(value).toLocaleString("en");
  const clamp = () => { span = Math.min(end, Math.max(20, span)); from = Math.min(end - span, Math.max(0, from)); };
  const first = (row, time) => { let a = 0, b = row.length; while (a < b) { const m = (a + b) >> 1; row[m][2] + row[m][3] < time ? a = m + 1 : b = m; } return a; };

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), color = name => style.getPropertyValue("--" + name).trim();
    c.scale(ratio, ratio); c.clearRect(0, 0, width, height);
    c.font = "12px system-ui, sans-serif"; c.textBaseline = "middle";
    const scale = (width - left) / span;
    rows.forEach((row, unit) => {
      const y = top + unit * (band + gap);
      c.fillStyle = color("ink"); c.fillText(data.units[unit].toUpperCase(), 4, y + band / 2);
      let lastX = -1;
      for (let i = first(row, from); i < row.length && row[i][2] < from + span; i++) {
        const x = left + Math.max(0, (row[i][2] - from) * scale), stop = left + Math.min(span, row[i][2] + row[i][3] - from) * scale, wide = Math.max(1, stop - x);
        if (x + wide <= lastX + 0.5) continue;
        lastX = x + wide;
        c.fillStyle = color(kinds[row[i][4]]); c.fillRect(x, y, Math.max(1, wide - (wide > 4 ? 1 : 0)), band);
        const name = row[i][1] >= 0 ? data.layers[row[i][1]] : "";
        if (wide > 40 && c.measureText(name).width < wide - 8) { c.fillStyle = color("paper"); c.fillText(name, x + 4, y + band / 2); }
      }
    });
    const base = top + 3 * (band + gap);
    c.strokeStyle = color("rule"); c.fillStyle = color("quiet"); c.beginPath(); c.moveTo(left, base); c.lineTo(width, base); c.stroke();
    const raw = span / Math.max(2, (width - left) / 110), power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(f => f * power).find(s => s >= raw) || raw;
    for (let t = Math.ceil(from / step) * step; t < from + span; t += step) c.fillText(number(t), Math.min(left + (t - from) * scale, width - 50), base + 11);
  }
  function show(text) { out.textContent = text || `cycles ${number(from)} to ${number(from + span)} of ${number(end)}`; }
  function view() { clamp(); draw(); show(); }
  function zoom(factor, at = 0.5) { const centre = from + at * span; span *= factor; clamp(); from = centre - at * span; view(); }
  function move(share) { from += share * span; view(); }
  const place = event => { const box = canvas.getBoundingClientRect(); return [Math.max(0, (event.clientX - box.left - left) / (box.width - left)), event.clientY - box.top]; };

  document.getElementById("tl-in").onclick = () => zoom(0.5);
  document.getElementById("tl-less").onclick = () => zoom(2);
  document.getElementById("tl-back").onclick = () => move(-0.5);
  document.getElementById("tl-on").onclick = () => move(0.5);
  document.getElementById("tl-all").onclick = () => { from = 0; span = end; view(); };
  canvas.addEventListener("keydown", event => {
    const act = {"+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), Home: () => { from = 0; view(); }, End: () => { from = end; view(); }}[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  canvas.addEventListener("wheel", event => { if (event.ctrlKey) { event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event)[0]); } }, {passive: false});
  canvas.addEventListener("pointerdown", event => { drag = [event.clientX, from]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", event => {
    if (drag) { from = drag[1] - (event.clientX - drag[0]) / (canvas.clientWidth - left) * span; view(); return; }
    const [share, y] = place(event), unit = Math.floor((y - top) / (band + gap)), time = from + share * span, row = rows[unit];
    const hit = row && row[first(row, time)];
    if (hit && hit[2] <= time) show(`${data.layers[hit[1]] ?? ""}: ${data.kinds[hit[4]]}, cycles ${number(hit[2])} to ${number(hit[2] + hit[3] - 1)} (${number(hit[3])})`);
    else show();
  });
  window.addEventListener("resize", draw);
  window.addEventListener("beforeprint", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  view();
})();
