// Forms of the training page: the upload shows how far it is, the others say what came of them.
import { $, send } from "./send.js";
import { refresh } from "./live.js";

function upload(target) {
  const bar = $("#upload-progress progress");
  const words = $("#upload-progress p");
  const button = $("button", target);
  const request = new XMLHttpRequest();
  request.open("POST", target.action);
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    words.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  };
  request.onloadend = () => {
    button.disabled = false;
    bar.hidden = true;
    const done = request.status === 200;
    words.className = done ? "" : "bad-text";
    const answer = request.response || {};
    words.textContent = done
      ? "Uploaded. Now start a training."
      : [answer.error || "The upload broke off.", answer.remedy].filter(Boolean).join(" ");
    if (done) target.reset();
    refresh();
  };
  bar.hidden = false;
  bar.value = 0;
  words.className = "";
  button.disabled = true;
  request.send(new FormData(target));
}

document.addEventListener("submit", async (event) => {
  const target = event.target;
  if (target.id === "upload") {
    event.preventDefault();
    upload(target);
  } else if (target.dataset.post) {
    event.preventDefault();
    const words = $("[role=status]", target);
    const button = $("button", target);
    button.disabled = true;
    try {
      words.textContent = (await send(target.dataset.post, { body: new FormData(target) })).message;
      words.classList.remove("bad-text");
    } catch (error) {
      words.textContent = error.message;
      words.classList.add("bad-text");
    } finally {
      button.disabled = false;
      refresh();
    }
  }
});
