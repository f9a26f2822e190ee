"use strict";
const report = JSON.parse(document.getElementById("report").textContent);
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const share = (part, whole) => {
  const percent = whole ? (100 * part) / whole : 0;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "under 0.01 %";
  if (percent > 99.99 && part < whole) return "over 99.99 %";
  return `${Number(percent.toFixed(2))} %`;
};
for (const trial of document.querySelectorAll(".trial")) {
  const rule = report.rules[trial.dataset.rule];
  const quota = rule.quotas[trial.dataset.quota];
  const slider = trial.querySelector("input");
  const part = (name) => trial.querySelector(`[data-figure=${name}]`);
  const plot = trial.parentElement.querySelector("svg .limit");
  const rows = trial.parentElement.querySelectorAll("tr[data-at]");
  const show = () => {
    const candidate = quota.candidates[slider.value];
    part("limit").textContent = grouped(candidate.limit);
    part("refused").textContent = grouped(candidate.refused);
    part("share").textContent = share(candidate.refused, rule.requests);
    part("keys").textContent = grouped(candidate.keys);
    rows.forEach((row) => row.classList.toggle("chosen", row.dataset.at === slider.value));
    if (plot) {
      const { bottom, top, most } = trial.dataset;
      const y = bottom - ((bottom - top) * candidate.limit) / most;
      plot.setAttribute("y1", y);
      plot.setAttribute("y2", y);
    }
  };
  slider.addEventListener("input", show);
  rows.forEach((row) => row.addEventListener("click", () => { slider.value = row.dataset.at; show(); }));
  // A link may choose a limit: #0.1=3 is the fourth candidate of the second quota of the first rule.
  const chosen = new URLSearchParams(location.hash.slice(1)).get(`${trial.dataset.rule}.${trial.dataset.quota}`);
  if (chosen !== null) slider.value = chosen;
  show();
  trial.hidden = false;
}
