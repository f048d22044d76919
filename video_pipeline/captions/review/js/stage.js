/** The strip at the playhead. Belongs here: what is drawn while a finer picture is on its way, playing. */

/** Samples asked for ahead while playing. */
const AHEAD = 6;

class Stage {
  constructor(captions, pictures, onMove) {
    this.captions = captions;
    this.pictures = pictures;
    this.onMove = onMove;
    this.canvas = document.getElementById("strip");
    this.badge = document.getElementById("strip-badge");
    this.frame = 0;
    this.shown = null;
    this.playing = false;
    const { width, height } = captions.file.strip;
    [this.canvas.width, this.canvas.height] = [width, height];
    this.canvas.style.setProperty("--aspect", `${width} / ${height}`);
  }

  get last() {
    return Math.max(0, this.captions.frameCount - 1);
  }

  /** Moves the playhead and shows its picture: at once the nearest one there is, then finer ones. */
  go(frame) {
    this.frame = Math.min(Math.max(0, frame), this.last);
    this.shown = null;
    this.pictures.drop("main");
    this.#show();
    this.onMove();
  }

  #show() {
    const { frame, pictures } = this;
    const best = this.captions.frameCount > 0 ? pictures.nearest(frame) : null;
    if (best === null) {
      this.#clear("No picture of this sample is in the page");
      return;
    }
    const coarse = [16, 4].map((step) => frame - (frame % step)).filter((at) => at < best && pictures.has(at));
    const ready = [best, ...coarse.toReversed()].find((at) => pictures.cached(at));
    if (ready !== undefined) this.#draw(frame, ready, best, pictures.cached(ready));
    else this.#say(`Loading sample ${frame}`, true);
    // A coarse picture on the way is only worth its decoding while there is none to look at.
    for (const at of ready === undefined ? [...coarse, best] : [best]) {
      pictures.want(at, "main").then((bitmap) => {
        if (bitmap) this.#draw(frame, at, best, bitmap);
        else if (bitmap === false && frame === this.frame) this.#show();
      });
    }
  }

  #draw(frame, at, best, bitmap) {
    if (frame !== this.frame || (this.shown !== null && at < this.shown)) return;
    this.shown = at;
    drawPicture(this.canvas, bitmap);
    const exact = at === frame;
    this.canvas.dataset.sample = at;
    this.#say(exact ? "" : at === best ? `The page has no picture of sample ${frame}; this is sample ${at}` : `≈ sample ${at}`);
  }

  /** Another sample's picture must not stand there as this one's. */
  #clear(why) {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.canvas.dataset.sample;
    this.#say(why);
  }

  #say(text, isPassing = false) {
    this.badge.textContent = text;
    this.badge.classList.toggle("passing", isPassing);
    this.badge.hidden = text === "";
  }

  toggle() {
    if (this.playing) this.pause();
    else this.#play();
  }

  pause() {
    this.playing = false;
    this.pictures.drop("ahead");
    this.onMove();
  }

  #play() {
    if (this.frame >= this.last) this.frame = 0;
    this.playing = true;
    const rate = fractionToNumber(this.captions.rate);
    let [from, began] = [this.frame, performance.now()];
    let expected = this.frame;
    const tick = (now) => {
      if (!this.playing) return;
      // Whoever moves the playhead while it plays, plays on from there.
      if (this.frame !== expected) [from, began] = [this.frame, now];
      const frame = Math.min(this.last, from + Math.max(0, Math.floor(((now - began) / 1000) * rate)));
      if (frame !== this.frame) {
        this.go(frame);
        this.pictures.drop("ahead");
        for (let at = frame + 1; at <= Math.min(frame + AHEAD, this.last); at++) {
          if (this.pictures.has(at)) this.pictures.want(at, "ahead");
        }
      }
      expected = this.frame;
      if (frame === this.last) this.pause();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    this.onMove();
  }
}
