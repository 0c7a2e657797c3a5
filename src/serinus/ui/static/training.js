// The trainers that can be chosen, with the licence of what each runs: found by a child process, so they come later.
import { $ } from "./send.js";

const select = $("#trainer");
const words = $("#licence");
let found = [];

/** Says plainly what the chosen one asks of whoever uses its models. */
function tell() {
  const chosen = found.find((one) => one.name === (select.value || select.dataset.default));
  words.classList.toggle("notice", /AGPL/.test(chosen?.licence ?? ""));
  words.textContent = !chosen
    ? ""
    : /AGPL/.test(chosen.licence)
      ? `${chosen.licence}: whoever lets others use such a program over a network must offer them its source, and it is disputed whether that counts for the weights, too. Read its terms, or buy its other licence, before you serve such a version. ${chosen.summary}`
      : `${chosen.licence}. ${chosen.summary}`;
}

function fill(page) {
  found = page.trainers;
  const before = select.value || select.dataset.given;
  select.replaceChildren(
    ...found.map((one) => {
      const usual = one.name === page.default;
      const option = new Option(`${one.name}${usual ? " (usual)" : ""} · ${[one.licence, one.problem].filter(Boolean).join(", ")}`, usual ? "" : one.name);
      option.disabled = Boolean(one.problem);
      return option;
    }),
  );
  select.value = before === page.default ? "" : before;
  if (select.selectedIndex < 0) select.value = "";
  tell();
}

select.addEventListener("change", tell);
words.textContent = "Looking which trainers are installed …";
try {
  const reply = await fetch("/api/trainers");
  if (!reply.ok) throw new Error(reply.status);
  fill(await reply.json());
} catch {
  words.textContent = "Which trainers are installed could not be found out now; the usual one can be used.";
}
