import OpenSeadragon from "openseadragon";
import { slideTileOf, tileOf } from "../api/requests";
import type { ImageDetail, SlidePlace } from "../api/contract";
import type { Point } from "../drawing/shapes";
import type { Rectangle } from "../drawing/rectangle";

const WHEEL_STEP = 1.2;

/**
 * OpenSeadragon adds a style sheet of its own unless it finds one by this mark. The page's content security policy forbids
 * that, so it finds an element that is called the same and styles nothing.
 */
function standInForStyle(): void {
  const mark = "data-openseadragon-mobile-css";
  if (document.querySelector(`style[${mark}]`)) return;
  const element = document.createElementNS("urn:frugalseg", "style");
  element.setAttribute(mark, "");
  document.head.append(element);
}

/** A pyramid as OpenSeadragon wants it; our levels count from the finest, its from the coarsest. */
function tiles(width: number, height: number, tileSize: number, levels: number, url: (level: number, column: number, row: number) => string): OpenSeadragon.TileSourceOptions {
  const last = levels - 1;
  return {
    width,
    height,
    tileSize,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: last,
    getTileUrl: (level: number, column: number, row: number) => url(last - level, column, row),
  } as unknown as OpenSeadragon.TileSourceOptions;
}

/** The image, zoomed and moved by OpenSeadragon; places on the page turned into places in the image and back. */
export class ImageView {
  private readonly viewer: OpenSeadragon.Viewer;
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  ready = false;
  /** CSS pixels per image pixel, and the place in the image of the top left corner. Follows every move. */
  scale = 1;
  originX = 0;
  originY = 0;
  /** Nobody has moved or zoomed since all was fitted: it is fitted again when the size of the view changes. */
  private fitted = true;
  private showsSlide = false;

  constructor(
    readonly element: HTMLElement,
    private readonly detail: ImageDetail,
    private readonly moved: () => void,
  ) {
    standInForStyle();
    this.viewer = OpenSeadragon({
      element,
      // The 2d drawer needs no WebGL and places tiles on whole pixels.
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: false,
      mouseNavEnabled: false,
      keyboardNavEnabled: false,
      animationTime: this.still ? 0 : 0.15,
      springStiffness: 10,
      blendTime: 0,
      immediateRender: true,
      visibilityRatio: 0.2,
      minZoomImageRatio: 0.5,
      maxZoomPixelRatio: 40,
      imageSmoothingEnabled: true,
      crossOriginPolicy: false,
      tabIndex: -1,
      tileSources: tiles(detail.width, detail.height, detail.tile_px, detail.levels, (level, column, row) => tileOf(detail.id, level, column, row)),
    } as OpenSeadragon.Options);
    this.viewer.addHandler("open", () => {
      this.ready = true;
      this.start(detail);
      if (detail.slide) this.addSlide(detail.slide, detail.tile_px);
    });
    // OpenSeadragon itself keeps the place after it has told of a new size, so this comes when it is through.
    this.viewer.addHandler("resize", () => queueMicrotask(() => this.ready && this.fitted && this.start(detail)));
    for (const event of ["update-viewport", "resize", "animation", "viewport-change"] as const) this.viewer.addHandler(event, () => this.follow());
  }

  /** Shows the part that is to be drawn in, else all. */
  private start(detail: ImageDetail): void {
    const { viewport } = this.viewer;
    const w = detail.window;
    if (w) viewport.fitBounds(this.rectangle({ x: w[0] - w[2] * 0.1, y: w[1] - w[3] * 0.1, w: w[2] * 1.2, h: w[3] * 1.2 }), true);
    else this.showImage(true);
    this.follow();
  }

  /** Lays the whole slide under the image, which is a window of it. */
  private addSlide(slide: SlidePlace, tilePx: number): void {
    this.viewer.addTiledImage({
      tileSource: tiles(slide.slide_width, slide.slide_height, tilePx, slide.tile_levels, (level, column, row) => slideTileOf(slide.id, level, column, row)),
      index: 0,
      x: -slide.x / slide.width,
      y: -slide.y / slide.width,
      width: slide.slide_width / slide.width,
      success: (event) => {
        const item = (event as unknown as { item: OpenSeadragon.TiledImage }).item;
        const tell = (): void => void (this.element.dataset.slide = item.getFullyLoaded() ? "loaded" : "loading");
        item.addHandler("fully-loaded-change", tell);
        tell();
      },
    });
  }

  private showImage(immediately: boolean): void {
    const { viewport } = this.viewer;
    // Home is all there is: the image, or the slide around it.
    if (this.detail.slide) viewport.fitBounds(this.rectangle({ x: 0, y: 0, w: this.detail.width, h: this.detail.height }), immediately);
    else viewport.goHome(immediately);
  }

  get canvas(): HTMLElement {
    return this.viewer.canvas as HTMLElement;
  }

  private rectangle(r: Rectangle): OpenSeadragon.Rect {
    const unit = 1 / this.detail.width;
    return new OpenSeadragon.Rect(r.x * unit, r.y * unit, r.w * unit, r.h * unit);
  }

  private follow(): void {
    if (!this.ready) return;
    const { viewport } = this.viewer;
    // The image is one unit wide, whatever lies under it.
    const corner = viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const far = viewport.pixelFromPoint(new OpenSeadragon.Point(1, 0), true);
    const scale = (far.x - corner.x) / this.detail.width;
    const originX = -corner.x / scale;
    const originY = -corner.y / scale;
    if (scale === this.scale && originX === this.originX && originY === this.originY) return;
    this.scale = scale;
    this.originX = originX;
    this.originY = originY;
    this.viewer.drawer.setImageSmoothingEnabled(scale < 4);
    this.moved();
  }

  /** Place in the image under a place on the page. */
  toImage(clientX: number, clientY: number): Point {
    const box = this.element.getBoundingClientRect();
    return { x: this.originX + (clientX - box.left) / this.scale, y: this.originY + (clientY - box.top) / this.scale };
  }

  /** CSS pixels from the top left corner of the view. */
  toView(p: Point): Point {
    return { x: (p.x - this.originX) * this.scale, y: (p.y - this.originY) * this.scale };
  }

  /** The part of the image plane that is seen. */
  get seen(): Rectangle {
    const x = Math.floor(this.originX);
    const y = Math.floor(this.originY);
    return {
      x,
      y,
      w: Math.ceil(this.originX + this.element.clientWidth / this.scale) - x,
      h: Math.ceil(this.originY + this.element.clientHeight / this.scale) - y,
    };
  }

  panBy(dx: number, dy: number): void {
    if (!this.ready) return;
    this.fitted = false;
    this.viewer.viewport.panBy(this.viewer.viewport.deltaPointsFromPixels(new OpenSeadragon.Point(-dx, -dy), true), true);
    this.follow();
  }

  /** Zooms so that what is under a place on the page stays there. */
  zoomAt(clientX: number, clientY: number, factor: number, immediately = this.still): void {
    if (!this.ready) return;
    this.fitted = false;
    const box = this.element.getBoundingClientRect();
    const at = this.viewer.viewport.pointFromPixel(new OpenSeadragon.Point(clientX - box.left, clientY - box.top), true);
    this.viewer.viewport.zoomBy(factor, at, immediately);
    this.viewer.viewport.applyConstraints(immediately);
    if (immediately) this.follow();
  }

  zoomMiddle(direction: 1 | -1): void {
    const box = this.element.getBoundingClientRect();
    this.zoomAt(box.left + box.width / 2, box.top + box.height / 2, direction > 0 ? 1.5 : 1 / 1.5);
  }

  wheel(event: WheelEvent): void {
    const lines = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    this.zoomAt(event.clientX, event.clientY, Math.pow(WHEEL_STEP, -Math.max(-3, Math.min(3, lines / 100))));
  }

  fit(): void {
    if (!this.ready) return;
    this.fitted = true;
    this.showsSlide = false;
    this.showImage(this.still);
  }

  /** Shows the whole slide that the image is a window of, and at the next call the image again. */
  toggleSlide(): void {
    if (!this.ready || !this.detail.slide) return;
    if (this.showsSlide) return this.fit();
    this.fitted = false;
    this.showsSlide = true;
    this.viewer.viewport.goHome(this.still);
  }

  /** Moves a rectangle of the image into view if it is not, without zooming further than needed. */
  show(r: Rectangle): void {
    const s = this.seen;
    const inside = r.x >= s.x && r.y >= s.y && r.x + r.w <= s.x + s.w && r.y + r.h <= s.y + s.h;
    if (inside || !this.ready) return;
    this.fitted = false;
    if (r.w > s.w || r.h > s.h) this.viewer.viewport.fitBounds(this.rectangle({ x: r.x - r.w * 0.2, y: r.y - r.h * 0.2, w: r.w * 1.4, h: r.h * 1.4 }), this.still);
    else this.viewer.viewport.panTo(this.rectangle(r).getCenter(), this.still);
  }

  setFilter(filter: string): void {
    this.canvas.style.filter = filter;
  }

  destroy(): void {
    this.ready = false;
    this.viewer.destroy();
  }
}
