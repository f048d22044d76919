/** The selected caption: its text, both boundaries, the pictures on either side of each. */

const BESIDE = { empty: "no caption", other_caption: "another caption", video_edge: "the video's edge" };

class BoundaryView {
  constructor(end, { captions, pictures }) {
    this.end = end;
    this.captions = captions;
    this.pictures = pictures;
    this.root = document.getElementById(`boundary-${end}`);
    this.root.append(document.getElementById("boundary").content.cloneNode(true));
    this.part = Object.fromEntries([...this.root.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));
    this.part.name.textContent = end === "start" ? "Start" : "End";
    for (const button of this.root.querySelectorAll("button")) button.dataset.act += `-${end}`;
    // Which caption of the file has a boundary here, to find the pictures that came with it.
    const frameOf = (caption) => (end === "start" ? caption.first_frame : caption.end_frame);
    this.sources = new Map(captions.original.map((caption) => [frameOf(caption), caption]));
  }

  show(caption, { touching, linked }) {
    const boundary = caption[this.end];
    const frame = this.end === "start" ? caption.first_frame : caption.end_frame;
    const { part } = this;
    const time = parseFraction(boundary.exact);
    part.clock.textContent = clockText(time);
    part.exact.textContent = `${boundary.exact} s, sample ${frame}`;
    part.known.textContent = `within ${resolutionText(boundary)} before`;
    part.beside.textContent = `beside: ${BESIDE[boundary.beside]}`;
    fillChip(part.sure, boundary.confidence, caption.edited?.[this.end] ? "set by you," : "sure");
    part.link.hidden = !touching;
    part.linked.checked = linked;
    const at = `${frame} ${boundary.exact}`;
    if (at === this.at) return;
    this.at = at;
    this.#pictures(frame, boundary);
  }

  /** The pictures that came with the boundary while it is where it was found; else those of its samples. */
  async #pictures(frame, boundary) {
    const at = this.at;
    const source = this.sources.get(frame);
    const came = source && source[this.end].exact === boundary.exact ? source.number : null;
    for (const [side, sample] of [["before", frame - 1], ["after", frame]]) {
      const canvas = this.part[side];
      const label = this.part[`${side}-label`];
      const given = came === null ? null : await embedded(`picture-${came}-${this.end}-${side}`);
      const image = given && (await this.#decode(given, `${side} the ${this.end} of caption ${came}`));
      if (at !== this.at) return;
      if (image) {
        this.#draw(canvas, image, "boundary");
        label.textContent = side === "before" ? "last picture before" : "first picture after";
        continue;
      }
      this.#sample(canvas, label, side, sample, at);
    }
  }

  async #sample(canvas, label, side, sample, at) {
    const inside = sample >= 0 && sample < this.captions.frameCount;
    const nearest = inside ? this.pictures.nearest(sample) : null;
    canvas.hidden = nearest === null;
    if (nearest === null) {
      const edgeOf = side === "before" ? "the video begins here" : "the video ends here";
      label.textContent = inside ? `${side}: sample ${sample} is not in the page` : `${side}: ${edgeOf}`;
      return;
    }
    const bitmap = await this.pictures.want(nearest, "side");
    if (at !== this.at || bitmap === null) return;
    if (bitmap === false) {
      this.#sample(canvas, label, side, sample, at);
      return;
    }
    this.#draw(canvas, bitmap, nearest);
    const what = nearest === sample ? `sample ${sample}` : `≈ sample ${nearest} (${sample} is not in the page)`;
    label.textContent = `${side}: ${what}`;
  }

  async #decode(base64, where) {
    try {
      return await decodeImage(base64);
    } catch (error) {
      this.pictures.complain(`that ${where}`, error);
      return null;
    }
  }

  #draw(canvas, bitmap, sample) {
    canvas.hidden = false;
    canvas.dataset.sample = sample;
    drawPicture(canvas, bitmap);
  }
}

class Details {
  constructor(review, pictures, { onText }) {
    this.review = review;
    this.pictures = pictures;
    this.linked = true;
    this.root = document.getElementById("details");
    this.text = document.getElementById("text");
    this.views = ["start", "end"].map((end) => new BoundaryView(end, { captions: review.captions, pictures }));
    this.text.addEventListener("input", () => onText(this.text.value));
    this.text.addEventListener("blur", () => review.endRun());
    this.root.addEventListener("change", (event) => {
      if (event.target.dataset.part !== "linked") return;
      this.linked = event.target.checked;
      this.refresh();
    });
  }

  refresh() {
    const { list, index, caption } = this.review;
    document.getElementById("selected").hidden = caption === null;
    document.getElementById("no-selection").hidden = caption !== null;
    if (caption === null) return;
    if (this.id !== caption.id) {
      this.id = caption.id;
      this.pictures.drop("side");
      for (const view of this.views) view.at = null;
    }
    document.getElementById("title").textContent = `Caption ${index + 1} of ${list.length}`;
    document.getElementById("reviewed").checked = caption.reviewed;
    // Setting the field moves the cursor, so only where it differs; blanks that someone types are no text yet.
    const typesBlanks = caption.text === null && document.activeElement === this.text && this.text.value.trim() === "";
    if (this.text.value !== (caption.text ?? "") && !typesBlanks) this.text.value = caption.text ?? "";
    this.text.placeholder = unreadText(caption);
    const read = caption.text_confidence === null ? "" : `read with ${percent(caption.text_confidence)} confidence`;
    const written = caption.edited?.text ? "written by you" : read;
    document.getElementById("about").textContent = [onScreenText(caption), written, caption.script].filter(Boolean).join(" · ");
    const touches = [list[index - 1]?.end_frame === caption.first_frame, list[index + 1]?.first_frame === caption.end_frame];
    this.views.forEach((view, side) => view.show(caption, { touching: touches[side], linked: this.linked }));
  }
}

function onScreenText(caption) {
  const start = parseFraction(caption.start.exact);
  const length = addFractions(parseFraction(caption.end.exact), fraction(-start.num, start.den));
  return `${(Number(toMilliseconds(length)) / 1000).toFixed(3)} s on screen`;
}

/** A JPEG or PNG in base64 as an image that can be drawn; the type is told by PNG's first bytes. */
async function decodeImage(base64) {
  const type = base64.startsWith("iVBOR") ? "image/png" : "image/jpeg";
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type }));
}
