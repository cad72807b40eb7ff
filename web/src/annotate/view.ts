import OpenSeadragon from "openseadragon";
import { tileOf } from "../api/requests";
import type { ImageDetail } from "../api/contract";
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

  constructor(
    readonly element: HTMLElement,
    detail: ImageDetail,
    private readonly moved: () => void,
  ) {
    const last = detail.levels - 1;
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
      tileSources: {
        width: detail.width,
        height: detail.height,
        tileSize: detail.tile_px,
        tileOverlap: 0,
        minLevel: 0,
        maxLevel: last,
        getTileUrl: (level: number, column: number, row: number) => tileOf(detail.id, last - level, column, row),
      } as unknown as OpenSeadragon.TileSourceOptions,
    } as OpenSeadragon.Options);
    this.viewer.addHandler("open", () => {
      this.ready = true;
      this.start(detail);
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
    else viewport.goHome(true);
    this.follow();
  }

  get canvas(): HTMLElement {
    return this.viewer.canvas as HTMLElement;
  }

  private rectangle(r: Rectangle): OpenSeadragon.Rect {
    return this.viewer.viewport.imageToViewportRectangle(r.x, r.y, r.w, r.h);
  }

  private follow(): void {
    if (!this.ready) return;
    const { viewport } = this.viewer;
    const corner = viewport.pixelFromPoint(viewport.imageToViewportCoordinates(0, 0), true);
    const far = viewport.pixelFromPoint(viewport.imageToViewportCoordinates(1000, 0), true);
    const scale = (far.x - corner.x) / 1000;
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
    this.viewer.viewport.goHome(this.still);
  }

  /** Moves a rectangle of the image into view if it is not, without zooming further than needed. */
  show(r: Rectangle): void {
    const s = this.seen;
    const inside = r.x >= s.x && r.y >= s.y && r.x + r.w <= s.x + s.w && r.y + r.h <= s.y + s.h;
    if (inside || !this.ready) return;
    this.fitted = false;
    if (r.w > s.w || r.h > s.h) this.viewer.viewport.fitBounds(this.rectangle({ x: r.x - r.w * 0.2, y: r.y - r.h * 0.2, w: r.w * 1.4, h: r.h * 1.4 }), this.still);
    else this.viewer.viewport.panTo(this.viewer.viewport.imageToViewportCoordinates(r.x + r.w / 2, r.y + r.h / 2), this.still);
  }

  setFilter(filter: string): void {
    this.canvas.style.filter = filter;
  }

  destroy(): void {
    this.ready = false;
    this.viewer.destroy();
  }
}
