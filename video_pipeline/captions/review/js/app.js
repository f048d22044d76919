/** The page: actions, keys and buttons, and what is redrawn when. Belongs here: wiring only. */

const SHORTCUTS_OFF = "captions-review/shortcuts-off";

const byId = (id) => document.getElementById(id);
const source = byId("captions-json").textContent;
const meta = JSON.parse(byId("page-json").textContent);
const captions = new Captions(JSON.parse(source));

function say(message) {
  byId("status").textContent = message;
}

/** What must stay in sight: the reader has to act on it. */
function warn(message) {
  const notes = byId("notices");
  if ([...notes.children].some((note) => note.textContent === message)) return;
  const note = document.createElement("p");
  note.textContent = message;
  notes.append(note);
}

for (const notice of meta.notices) warn(notice);
const review = new Review(captions, fingerprintOf(source), warn);
const pictures = new Pictures(meta, captions.file.frame_rate, warn);
const stage = new Stage(captions, pictures, () => moved());
const timeline = new Timeline(review, stage);
const details = new Details(review, pictures, {
  onText: (text) => attempt(() => review.edit(captions.setText(review.list, review.index, text), { run: `text ${review.selected}` })),
});
const list = new CaptionList(review, {
  onPick: (id) => pick(id),
  onReviewed: (id, reviewed) => {
    const index = review.list.findIndex((caption) => caption.id === id);
    review.edit(captions.setReviewed(review.list, index, reviewed));
  },
  onEditText: () => editText(),
});

/** An edit that is refused says why, and changes nothing. */
function attempt(edit) {
  try {
    say("");
    edit();
  } catch (error) {
    if (!(error instanceof EditRefused)) throw error;
    say(error.message);
  }
}

/** Selects a caption and goes to its first sample. */
function pick(id) {
  const caption = review.list.find((candidate) => candidate.id === id);
  if (!caption) return;
  review.select(id);
  stage.go(caption.first_frame);
}

function pickOr(caption, otherwise) {
  if (caption) pick(caption.id);
  else say(otherwise);
}

function neighbour(step) {
  pickOr(review.list[review.index + step], step > 0 ? "This is the last caption." : "This is the first caption.");
}

function uncertain(step) {
  const fits = (caption) => captions.isUncertain(caption) && !caption.reviewed;
  pickOr(list.next(fits, step), "No other uncertain caption in this list is left to review.");
}

/** Marks and goes on to what is left; on a marked one takes the mark away and stays. */
function markReviewed() {
  const { caption, index } = review;
  if (!caption) return;
  const following = caption.reviewed ? null : list.next((candidate) => !candidate.reviewed);
  review.edit(captions.setReviewed(review.list, index, !caption.reviewed));
  if (following) pick(following.id);
  else if (review.left === 0) say("All captions are reviewed.");
}

function withSelected(edit) {
  if (!review.caption) say("No caption is selected.");
  else attempt(() => edit(review.caption, review.index));
}

/** The picture to look at is the first one at the boundary: the playhead goes along with it. */
function moveTo(end, frameOf) {
  withSelected((caption, index) => {
    const frame = frameOf(end === "start" ? caption.first_frame : caption.end_frame);
    review.edit(captions.moveBoundary(review.list, index, end, frame, details.linked));
    stage.go(frame);
  });
}

function split() {
  attempt(() => {
    const changed = captions.split(review.list, stage.frame);
    review.edit(changed, { select: changed[captions.indexAt(changed, stage.frame)].id });
  });
}

function merge() {
  withSelected((_, index) => review.edit(captions.merge(review.list, index)));
}

function remove() {
  withSelected((caption, index) => {
    const follower = review.list[index + 1] ?? review.list[index - 1];
    review.edit(captions.remove(review.list, index), { select: follower?.id ?? null });
    say(`Caption ${index + 1} deleted. Ctrl+Z brings it back.`);
  });
}

function insert() {
  attempt(() => {
    const changed = captions.insert(review.list, stage.frame);
    review.edit(changed, { select: changed[captions.indexAt(changed, stage.frame)].id });
    editText();
  });
}

function editText() {
  if (!review.caption) return;
  stage.pause();
  details.text.focus();
  details.text.select();
}

function travel(back) {
  if (!(back ? review.undo() : review.redo())) return say(back ? "Nothing to undo." : "Nothing to redo.");
  return say(back ? "Undone." : "Done again.");
}

function discard() {
  if (!review.isChanged) return say("There are no edits.");
  review.edit(captions.original);
  return say("All edits and marks are taken back. Ctrl+Z brings them back.");
}

function download(kind) {
  attempt(() => {
    const write = { srt: () => toSrt(review.list), vtt: () => toVtt(captions, review.list), json: () => toJson(captions, review.list) };
    const text = write[kind]();
    const type = { srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" }[kind];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = kind === "json" ? "captions.json" : `${captions.file.video}.${kind}`;
    link.click();
    // The browser reads the blob after this function has ended.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    const without = review.list.filter((caption) => caption.text === null).length;
    const left = kind !== "json" && without > 0 ? ` ${without} captions without text say so in brackets.` : "";
    say(`${link.download} written.${left}`);
  });
}

const edgeOf = (end) => (end === "start" ? review.caption?.first_frame : review.caption?.end_frame) ?? stage.frame;

/** name: [what it does, for the help; keys; action]. A key with Ctrl is also taken with Cmd. */
const ACTIONS = {
  back: ["One sample back", ["ArrowLeft"], () => stage.go(stage.frame - 1)],
  forward: ["One sample on", ["ArrowRight"], () => stage.go(stage.frame + 1)],
  "back-10": ["Ten samples back", ["Shift+ArrowLeft"], () => stage.go(stage.frame - 10)],
  "forward-10": ["Ten samples on", ["Shift+ArrowRight"], () => stage.go(stage.frame + 10)],
  "to-first": ["To the first sample", ["Home"], () => stage.go(0)],
  "to-last": ["To the last sample", ["End"], () => stage.go(stage.last)],
  play: ["Play or pause, at the samples' rate", ["Space"], () => stage.toggle()],
  previous: ["Previous caption in time", ["["], () => neighbour(-1)],
  next: ["Next caption in time", ["]"], () => neighbour(1)],
  up: ["Caption above in the list", ["ArrowUp"], () => pickOr(list.beside(-1), "This is the top of the list.")],
  down: ["Caption below in the list", ["ArrowDown"], () => pickOr(list.beside(1), "This is the end of the list.")],
  "next-uncertain": ["Next uncertain caption that is left", ["n"], () => uncertain(1)],
  "previous-uncertain": ["Previous uncertain caption that is left", ["Shift+N"], () => uncertain(-1)],
  reviewed: ["Mark as reviewed and go to the next that is left; again: take the mark away", ["r"], markReviewed],
  edit: ["Edit the text (Escape: back; Ctrl+Enter: reviewed, next)", ["Enter"], editText],
  "go-start": ["Playhead to the start", ["1"], () => stage.go(edgeOf("start"))],
  "go-end": ["Playhead to the end", ["2"], () => stage.go(edgeOf("end"))],
  "earlier-start": ["Start one sample earlier", [","], () => moveTo("start", (frame) => frame - 1)],
  "later-start": ["Start one sample later", ["."], () => moveTo("start", (frame) => frame + 1)],
  "earlier-end": ["End one sample earlier", ["<"], () => moveTo("end", (frame) => frame - 1)],
  "later-end": ["End one sample later", [">"], () => moveTo("end", (frame) => frame + 1)],
  "here-start": ["Start at the playhead", ["i"], () => moveTo("start", () => stage.frame)],
  "here-end": ["End at the playhead: its sample no longer shows the caption", ["o"], () => moveTo("end", () => stage.frame)],
  split: ["Split before the playhead's sample", ["s"], split],
  merge: ["Merge with the next caption", ["m"], merge],
  remove: ["Delete the caption", ["Delete"], remove],
  insert: ["Add a caption at the playhead", ["a", "Insert"], insert],
  undo: ["Undo", ["Ctrl+z"], () => travel(true)],
  redo: ["Redo", ["Ctrl+Shift+Z", "Ctrl+y"], () => travel(false)],
  "zoom-in": ["Timeline: closer (also the wheel)", ["+", "="], () => timeline.zoom(1 / 1.6)],
  "zoom-out": ["Timeline: farther (also the wheel)", ["-"], () => timeline.zoom(1.6)],
  whole: ["Timeline: the whole video", ["0"], () => timeline.whole()],
  help: ["This help", ["?"], () => byId("help").showModal()],
  discard: ["Take back all edits and marks", [], discard],
  "export-srt": ["Save SubRip (.srt)", [], () => download("srt")],
  "export-vtt": ["Save WebVTT (.vtt)", [], () => download("vtt")],
  "export-json": ["Save captions.json", ["Ctrl+s"], () => download("json")],
};
const KEYS = new Map(Object.values(ACTIONS).flatMap(([, keys, act]) => keys.map((key) => [key, act])));

/** "Ctrl+Shift+Z". Signs such as "<" come with Shift on some keyboards only, so it is not named for them. */
function keyName(event) {
  const isLetter = /^\p{L}$/u.test(event.key);
  // Caps lock must not turn "n" into "Shift+N".
  const letter = event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase();
  const key = event.key === " " ? "Space" : isLetter ? letter : event.key;
  const names = event.shiftKey && (key.length > 1 || isLetter);
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${names ? "Shift+" : ""}${key}`;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.isComposing || byId("help").open) return;
  const { target } = event;
  const key = keyName(event);
  if (target === details.text) {
    if (key === "Escape" || key === "Ctrl+Enter") {
      event.preventDefault();
      list.box.focus();
      if (key === "Ctrl+Enter" && !review.caption.reviewed) markReviewed();
    }
    // Undo is the page's everywhere: the field's own would not know of other edits, and redo would differ.
    if (!/^Ctrl\+(Shift\+)?[zys]$/i.test(key)) return;
  } else if (target.matches("select, input:not([type=checkbox])")) return;
  if (target.matches("button, input, a") && (key === "Space" || key === "Enter")) return;
  if (byId("shortcuts").checked === false && !key.startsWith("Ctrl+") && key.length === 1) return;
  const act = KEYS.get(key);
  if (!act) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  ACTIONS[button.dataset.act][2]();
  // After a click with the mouse, space is to play and not to press that button again.
  if (event.detail > 0 && document.activeElement === button) list.box.focus({ preventScroll: true });
});

byId("reviewed").addEventListener("change", (event) => {
  review.edit(captions.setReviewed(review.list, review.index, event.target.checked));
});

/** Keys written as on the keyboard, in the help and in the buttons' hints. */
function fillHelp() {
  const names = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  const written = (key) => key.replace(/Arrow\w+/, (arrow) => names[arrow]).replace(/([+]|^)([a-z])$/i, (_, plus, letter) => plus + letter.toUpperCase());
  for (const [what, keys] of Object.values(ACTIONS)) {
    if (keys.length === 0) continue;
    const [row, term, meaning] = ["div", "dt", "dd"].map((name) => document.createElement(name));
    for (const key of keys) term.append(Object.assign(document.createElement("kbd"), { textContent: written(key) }), " ");
    meaning.textContent = what;
    row.append(term, meaning);
    byId("keys").append(row);
  }
  for (const button of document.querySelectorAll("[data-act]")) {
    const [what, [key]] = ACTIONS[button.dataset.act];
    button.title = key ? `${what} (${written(key)})` : what;
    if (key) button.setAttribute("aria-keyshortcuts", key.replace("Ctrl", "Control").replace(/^\+$/, "Plus"));
    // "−1" says enough only to those who see which boundary it stands beside.
    if (button.closest(".boundary")) button.setAttribute("aria-label", what);
  }
}

/** The switch for keys of one letter, which speech input would press by accident. */
function keepShortcutSwitch() {
  try {
    byId("shortcuts").checked = localStorage.getItem(SHORTCUTS_OFF) === null;
    byId("shortcuts").addEventListener("change", (event) => {
      if (event.target.checked) localStorage.removeItem(SHORTCUTS_OFF);
      else localStorage.setItem(SHORTCUTS_OFF, "1");
    });
  } catch {
    // Without storage the switch holds until the page is closed; `Review` warns that edits do as well.
  }
}

function moved() {
  const { frame } = stage;
  const time = captions.sampleTime(frame);
  byId("clock").textContent = clockText(time);
  byId("sample").textContent = `sample ${frame} of ${captions.frameCount} · ${fractionText(time)} s`;
  byId("play").textContent = stage.playing ? "Pause" : "Play";
  const index = captions.indexAt(review.list, frame);
  const here = review.list[index];
  byId("here-number").textContent = here ? `#${index + 1}` : "";
  byId("here").textContent = here ? here.text ?? unreadText(here) : "no caption at this sample";
  byId("here").classList.toggle("without", !here || here.text === null);
  timeline.follow();
}

let selected;

function changed() {
  list.refresh();
  if (selected !== review.selected) list.reveal();
  selected = review.selected;
  details.refresh();
  moved();
  byId("left").textContent = review.left === 0 ? "all reviewed" : `${review.left} of ${review.list.length} left to review`;
  byId("undo").disabled = review.past.length === 0;
  byId("redo").disabled = review.future.length === 0;
}

fillHelp();
keepShortcutSwitch();
byId("name").textContent = `${captions.file.tenant} / ${captions.file.video}`;
review.onChange(changed);
changed();
stage.go(review.caption?.first_frame ?? 0);
if (review.restored) say("Your edits from before are here again.");
