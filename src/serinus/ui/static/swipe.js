// From before to after: a slider over two pictures moves the edge between them.
import "./send.js";

for (const figure of document.querySelectorAll("[data-swipe]")) {
  const frame = figure.querySelector(".frame");
  const slider = figure.querySelector("input");
  const show = () => {
    frame.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % before, ${100 - slider.value} % after`);
  };
  slider.addEventListener("input", show);
  show();
}
for (const box of document.querySelectorAll("[data-labels]"))
  box.addEventListener("change", () => document.documentElement.classList.toggle("no-labels", !box.checked));
