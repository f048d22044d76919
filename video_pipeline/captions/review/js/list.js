/**
 * The list of captions. Belongs here: order, filter, and rows for what is in view only.
 *
 * Rows have one height, so that a row's place is its position times the height; of 2,000 captions only the
 * twenty in view and a few around them are in the document.
 */

const ROW = 58;
const AROUND = 6;

class CaptionList {
  constructor(review, { onPick, onReviewed, onEditText }) {
    this.review = review;
    this.box = document.getElementById("list");
    this.inner = document.getElementById("rows");
    this.order = document.getElementById("order");
    this.filter = document.getElementById("filter");
    this.search = document.getElementById("search");
    this.template = document.getElementById("row");
    this.rows = new Map();
    this.shown = [];
    const again = () => {
      this.refresh();
      this.reveal();
    };
    for (const control of [this.order, this.filter]) control.addEventListener("change", again);
    this.search.addEventListener("input", again);
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.box);
    const idOf = (event) => event.target.closest(".row")?.captionId;
    this.inner.addEventListener("click", (event) => {
      const id = idOf(event);
      if (id === undefined) return;
      if (event.target.matches("input")) onReviewed(id, event.target.checked);
      else onPick(id);
    });
    this.inner.addEventListener("dblclick", (event) => idOf(event) !== undefined && onEditText());
  }

  /** Reads the list anew. The selected caption is there whatever the filter says: one that was just marked
   * as reviewed or corrected must not vanish under the hand. */
  refresh() {
    const { list, captions } = this.review;
    const needle = this.search.value.trim().toLocaleLowerCase();
    const fits = {
      all: () => true,
      left: (caption) => !caption.reviewed,
      uncertain: (caption) => captions.isUncertain(caption),
      unread: (caption) => caption.text === null,
      edited: (caption) => Boolean(caption.edited),
    }[this.filter.value];
    this.shown = [];
    list.forEach((caption, index) => {
      const found = needle === "" || (caption.text ?? "").toLocaleLowerCase().includes(needle);
      if (caption.id === this.review.selected || (found && fits(caption))) this.shown.push({ caption, index });
    });
    if (this.order.value === "certainty") {
      this.shown.sort((a, b) => captions.certainty(a.caption) - captions.certainty(b.caption) || a.index - b.index);
    }
    this.positions = new Map(this.shown.map(({ caption }, position) => [caption.id, position]));
    this.inner.style.height = `${this.shown.length * ROW}px`;
    this.box.setAttribute("aria-rowcount", this.shown.length);
    document.getElementById("none").hidden = this.shown.length > 0;
    this.draw();
  }

  /** The caption that stands `step` rows after the selected one, or null. */
  beside(step) {
    const position = this.positions.get(this.review.selected);
    return position === undefined ? null : this.shown[position + step]?.caption ?? null;
  }

  /** The next row, going round, whose caption fits; null if none does. */
  next(fits, step = 1) {
    const count = this.shown.length;
    const start = this.positions.get(this.review.selected) ?? 0;
    for (let turn = 1; turn < count; turn++) {
      const { caption } = this.shown[(((start + step * turn) % count) + count) % count];
      if (fits(caption)) return caption;
    }
    return null;
  }

  /** Scrolls the selected row into view, no further than needed. */
  reveal() {
    const position = this.positions.get(this.review.selected);
    if (position === undefined) return;
    const [top, height] = [position * ROW, this.box.clientHeight];
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + height) this.box.scrollTop = top + ROW - height;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - AROUND);
    const end = Math.min(this.shown.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + AROUND);
    const kept = new Map();
    for (let position = first; position < end; position++) {
      const { caption, index } = this.shown[position];
      // Rows are filled again rather than made again: a click must end on the element where it began.
      const row = this.rows.get(caption.id) ?? this.#make(caption.id);
      this.rows.delete(caption.id);
      kept.set(caption.id, row);
      this.#fill(row, caption, index, position);
      if (!row.isConnected) this.inner.append(row);
    }
    for (const row of this.rows.values()) row.remove();
    this.rows = kept;
    this.box.setAttribute("aria-activedescendant", kept.has(this.review.selected) ? "row-selected" : "");
  }

  #make(id) {
    const row = this.template.content.firstElementChild.cloneNode(true);
    row.captionId = id;
    row.parts = Object.fromEntries([...row.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));
    return row;
  }

  #fill(row, caption, index, position) {
    const { captions, selected } = this.review;
    row.style.transform = `translateY(${position * ROW}px)`;
    const isSelected = caption.id === selected;
    row.setAttribute("aria-selected", isSelected);
    row.setAttribute("aria-rowindex", position + 1);
    if (isSelected) row.id = "row-selected";
    else row.removeAttribute("id");
    if (row.filled === caption && row.index === index) return;
    [row.filled, row.index] = [caption, index];
    const { parts: part } = row;
    part.number.textContent = index + 1;
    part.reviewed.checked = caption.reviewed;
    part.reviewed.setAttribute("aria-label", `Caption ${index + 1} is reviewed`);
    const [start, end] = [caption.start, caption.end].map(({ exact }) => parseFraction(exact));
    part.times.textContent = `${clockText(start)} → ${clockText(end)}`;
    part.times.title = `exactly ${caption.start.exact} s → ${caption.end.exact} s`;
    const known = [resolutionText(caption.start), resolutionText(caption.end)];
    part.known.textContent = `within ${known[0] === known[1] ? "" : `${known[0]} / `}${known[1]}`;
    part.text.textContent = caption.text?.replaceAll("\n", " ⏎ ") ?? unreadText(caption);
    part.text.classList.toggle("without", caption.text === null);
    const certainty = captions.certainty(caption);
    fillChip(part.sure, Math.min(caption.start.confidence, caption.end.confidence), "times");
    part.textSure.hidden = caption.text_confidence === null || caption.text === null;
    if (!part.textSure.hidden) fillChip(part.textSure, caption.text_confidence, "text");
    part.edited.hidden = !caption.edited;
    row.dataset.sureness = sureness(certainty);
    row.classList.toggle("reviewed", caption.reviewed);
  }
}

/** Rounded down: what is not certain never reads 100 %. */
function percent(confidence) {
  return `${Math.floor(confidence * 100 + 1e-9)} %`;
}

function fillChip(chip, confidence, what) {
  chip.textContent = `${what} ${percent(confidence)}`;
  chip.dataset.sureness = sureness(confidence);
}

/** "100 ms" */
function resolutionText(boundary) {
  return `${toMilliseconds(parseFraction(boundary.resolution))} ms`;
}

function unreadText(caption) {
  return {
    no_ocr: "No text: captions were not read (no recogniser was installed)",
    script_not_readable: `No text: the recogniser does not know this writing${caption.script ? ` (${caption.script})` : ""}`,
    nothing_recognised: "No text: nothing was recognised",
  }[caption.unread] ?? "No text";
}
