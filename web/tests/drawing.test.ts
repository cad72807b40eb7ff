import { describe, expect, it } from "vitest";
import { deflateLabels, inflateLabels } from "../src/drawing/codec";
import { History } from "../src/drawing/history";
import { ObjectIndex, boundsOf, tilesGoingOn } from "../src/drawing/objects";
import { paintLabels } from "../src/drawing/paint";
import { Recorder, reversed } from "../src/drawing/patch";
import { intersection, isEmpty, union, type Rectangle } from "../src/drawing/rectangle";
import { cutPieces, enclosedBackground, objectUnder } from "../src/drawing/regions";
import { drawSegment, fillPolygon, linePixels, type Ink } from "../src/drawing/shapes";
import { ABSENT, LabelTiles } from "../src/drawing/tiles";

function loaded(width: number, height: number): LabelTiles {
  const tiles = new LabelTiles(width, height);
  tiles.create(tiles.whole);
  return tiles;
}

function put(tiles: LabelTiles, r: Rectangle, label: number): void {
  tiles.write(r, new Int32Array(r.w * r.h).fill(label));
}

function ink(tiles: LabelTiles, label: number, may: (old: number) => boolean = () => true): Ink {
  return { label, may, within: tiles.whole };
}

describe("rectangles", () => {
  it("meet and join", () => {
    const a = { x: 0, y: 0, w: 10, h: 10 };
    expect(intersection(a, { x: 5, y: 6, w: 10, h: 10 })).toEqual({ x: 5, y: 6, w: 5, h: 4 });
    expect(isEmpty(intersection(a, { x: 10, y: 0, w: 3, h: 3 }))).toBe(true);
    expect(union(a, { x: 20, y: 5, w: 1, h: 1 })).toEqual({ x: 0, y: 0, w: 21, h: 10 });
  });
});

describe("label tiles", () => {
  it("read back what was written across tile borders, and nothing where nothing is loaded", () => {
    const tiles = new LabelTiles(1100, 600);
    tiles.create({ x: 0, y: 0, w: 1024, h: 512 });
    const r = { x: 500, y: 500, w: 30, h: 30 };
    tiles.write(r, Int32Array.from({ length: 900 }, (_, i) => i + 1));
    const back = tiles.read(r);
    expect(back[11 * 30 + 29]).toBe(11 * 30 + 30);
    expect(back[12 * 30]).toBe(ABSENT);
    expect(tiles.get(529, 511)).toBe(11 * 30 + 30);
    expect(tiles.get(-1, 0)).toBe(ABSENT);
    expect(tiles.missing(tiles.whole)).toHaveLength(4);
  });

  it("count objects, and follow changes", () => {
    const tiles = loaded(700, 100);
    put(tiles, { x: 500, y: 10, w: 40, h: 20 }, 3);
    const index = new ObjectIndex();
    index.addTile(tiles, 0, 0);
    index.addTile(tiles, 1, 0);
    expect(index.objects.get(3)?.pixels).toBe(800);
    expect(index.centre(3)).toEqual({ x: 519.5, y: 19.5 });
    expect(boundsOf(tiles, 3)).toEqual({ x: 500, y: 10, w: 40, h: 20 });
    const r = { x: 500, y: 10, w: 40, h: 20 };
    const half = tiles.read(r).map((label, i) => (i % 40 < 10 ? 4 : label));
    expect(index.change(r, tiles.read(r), half)).toEqual(new Map([[3, 0], [4, 200]]));
    expect(index.objects.get(3)?.pixels).toBe(600);
    expect(index.centre(4)).toEqual({ x: 504.5, y: 19.5 });
    expect(index.change(r, half, new Int32Array(800))).toEqual(new Map([[3, 0], [4, 0]]));
    expect(index.objects.size).toBe(0);
  });

  it("know where an object may go on", () => {
    const tiles = new LabelTiles(1024, 1024);
    tiles.create({ x: 0, y: 0, w: 512, h: 512 });
    put(tiles, { x: 500, y: 10, w: 12, h: 20 }, 3);
    expect(tilesGoingOn(tiles, 3)).toEqual([[1, 0]]);
  });
});

describe("recorder", () => {
  it("gives the rectangle of change and what was there", () => {
    const tiles = loaded(600, 600);
    put(tiles, { x: 505, y: 505, w: 4, h: 4 }, 9);
    const recorder = new Recorder(tiles);
    recorder.setRun(506, 500, 520, 2, (old) => old === 0);
    recorder.setRun(507, 510, 514, 2, (old) => old === 0);
    const patch = recorder.finish("brush");
    expect(patch.place).toEqual({ x: 500, y: 506, w: 21, h: 2 });
    expect(tiles.get(506, 506)).toBe(9);
    expect(patch.before[6]).toBe(9);
    expect(patch.before[0]).toBe(0);
    expect(patch.after[0]).toBe(2);
    recorder.revert();
    expect(tiles.get(500, 506)).toBe(0);
  });

  it("leaves tiles that are not loaded alone", () => {
    const tiles = new LabelTiles(1024, 10);
    tiles.create({ x: 0, y: 0, w: 10, h: 10 });
    const recorder = new Recorder(tiles);
    recorder.setRun(3, 500, 600, 1, () => true);
    expect(recorder.place).toEqual({ x: 500, y: 3, w: 12, h: 1 });
  });
});

describe("history", () => {
  it("undoes and redoes in order, and a new step forgets what was undone", () => {
    const tiles = loaded(50, 50);
    const history = new History();
    for (const label of [1, 2]) {
      const recorder = new Recorder(tiles);
      recorder.setRun(0, 0, 5, label, () => true);
      history.add(recorder.finish("brush"));
    }
    const undo = history.undo()!;
    tiles.write(undo.place, undo.after);
    expect(tiles.get(0, 0)).toBe(1);
    const redo = history.redo()!;
    tiles.write(redo.place, redo.after);
    expect(tiles.get(0, 0)).toBe(2);
    expect(history.canRedo).toBe(false);
    history.undo();
    history.add(reversed(redo, "brush"));
    expect(history.canRedo).toBe(false);
  });
});

describe("shapes", () => {
  it("a brush of size 1 sets the one pixel under it", () => {
    const tiles = loaded(20, 20);
    const recorder = new Recorder(tiles);
    drawSegment(recorder, { x: 3.99, y: 4.01 }, { x: 3.99, y: 4.01 }, 0.5, ink(tiles, 1));
    expect(recorder.place).toEqual({ x: 3, y: 4, w: 1, h: 1 });
  });

  it("a stroke covers exactly the pixels whose middle is near the line", () => {
    const tiles = loaded(200, 100);
    const a = { x: 20.3, y: 30.7 };
    const b = { x: 160.2, y: 61.4 };
    drawSegment(new Recorder(tiles), a, b, 6, ink(tiles, 1));
    for (let y = 0; y < 100; y++) {
      for (let x = 0; x < 200; x++) {
        const px = x + 0.5 - a.x;
        const py = y + 0.5 - a.y;
        const dx = b.x - a.x;
        const dy = b.y - a.y;
        const t = Math.min(1, Math.max(0, (px * dx + py * dy) / (dx * dx + dy * dy)));
        const distance = Math.hypot(px - t * dx, py - t * dy);
        if (Math.abs(distance - 6) > 1e-6) expect(tiles.get(x, y)).toBe(distance < 6 ? 1 : 0);
      }
    }
  });

  it("a stroke leaves other objects alone", () => {
    const tiles = loaded(60, 60);
    put(tiles, { x: 30, y: 0, w: 10, h: 60 }, 7);
    drawSegment(new Recorder(tiles), { x: 10, y: 30 }, { x: 50, y: 30 }, 5, ink(tiles, 1, (old) => old <= 0));
    expect(tiles.get(35, 30)).toBe(7);
    expect(tiles.get(29, 30)).toBe(1);
    expect(tiles.get(40, 30)).toBe(1);
  });

  it("a polygon fills what it encloses", () => {
    const tiles = loaded(40, 40);
    fillPolygon(new Recorder(tiles), [{ x: 10, y: 10 }, { x: 20, y: 10 }, { x: 20, y: 25 }, { x: 10, y: 25 }], ink(tiles, 4));
    expect(boundsOf(tiles, 4)).toEqual({ x: 10, y: 10, w: 10, h: 15 });
  });

  it("a line has no gaps", () => {
    const line = linePixels([{ x: 0, y: 0 }, { x: 10, y: 3 }, { x: 2, y: 9 }]);
    for (let i = 1; i < line.length; i++) {
      expect(Math.max(Math.abs(line[i]!.x - line[i - 1]!.x), Math.abs(line[i]!.y - line[i - 1]!.y))).toBeLessThanOrEqual(1);
    }
  });
});

describe("regions", () => {
  it("a hole is found with its neighbours; open background is not a hole", () => {
    const tiles = loaded(600, 600);
    put(tiles, { x: 490, y: 490, w: 40, h: 40 }, 2);
    put(tiles, { x: 500, y: 500, w: 20, h: 20 }, 0);
    const hole = enclosedBackground(tiles, 505, 505, tiles.whole);
    expect(hole.kind).toBe("region");
    if (hole.kind === "region") {
      expect(hole.region.pixels).toHaveLength(400);
      expect([...hole.neighbours.keys()]).toEqual([2]);
    }
    expect(enclosedBackground(tiles, 5, 5, tiles.whole).kind).toBe("open");
    expect(enclosedBackground(tiles, 495, 495, tiles.whole).kind).toBe("object");
  });

  it("a cut makes pieces, the largest first, and loses no pixel", () => {
    const tiles = loaded(100, 100);
    put(tiles, { x: 10, y: 10, w: 60, h: 20 }, 5);
    const place = boundsOf(tiles, 5);
    const line = [{ x: 30.5, y: 5 }, { x: 30.5, y: 40 }];
    expect(objectUnder(tiles, line)).toBe(5);
    const cut = cutPieces(tiles.read(place), place, 5, line)!;
    expect(cut.count).toBe(2);
    expect(cut.pieces.filter((p) => p === 0)).toHaveLength(0);
    expect(cut.pieces.filter((p) => p === 1).length).toBeGreaterThan(cut.pieces.filter((p) => p === 2).length);
    expect(cut.pieces[59]).toBe(1);
    expect(cut.pieces[0]).toBe(2);
    expect(cutPieces(tiles.read(place), place, 5, [{ x: 30, y: 5 }, { x: 30, y: 20 }])).toBeNull();
  });

  it("cuts what the line crosses, whatever crumbs and parts lie beside it", () => {
    const tiles = loaded(60, 30);
    put(tiles, { x: 2, y: 2, w: 20, h: 10 }, 5);
    put(tiles, { x: 40, y: 2, w: 10, h: 10 }, 5); // a part apart
    put(tiles, { x: 30, y: 20, w: 1, h: 1 }, 5); // a crumb
    const place = { x: 2, y: 2, w: 48, h: 19 };
    const across = [{ x: 8, y: 0 }, { x: 8, y: 25 }];
    const cut = cutPieces(tiles.read(place), place, 5, across)!;
    const at = (x: number, y: number): number => cut.pieces[(y - place.y) * place.w + x - place.x]!;
    expect(cut.count).toBe(2);
    expect([at(20, 5), at(3, 5), at(45, 5), at(30, 20)]).toEqual([1, 2, 1, 1]);
    expect(cutPieces(tiles.read(place), place, 5, [{ x: 35, y: 0 }, { x: 35, y: 25 }])).toBeNull();
  });
});

describe("painting", () => {
  it("outlines touching objects of one another, and leaves background clear", () => {
    const labels = new Int32Array(8 * 7);
    for (let y = 2; y < 5; y++) for (let x = 2; x < 6; x++) labels[y * 8 + x] = x < 4 ? 1 : 2;
    const out = new Uint32Array(4 * 3);
    const style = { opacity: 0.5, outlinesOnly: false, line: 1, selected: 0, isProposed: () => false, classOf: null };
    paintLabels(labels, 4, 3, 0, 0, style, out);
    expect(out.every((pixel) => pixel !== 0)).toBe(true);
    expect(out[5]).not.toBe(out[6]);
    expect(out[5]! >>> 24).toBe(255);
  });
});

describe("labels on the wire", () => {
  it("come back as they were", async () => {
    const labels = Int32Array.from({ length: 5000 }, (_, i) => (i % 7) - 1);
    const bytes = Uint8Array.from(atob(await deflateLabels(labels)), (c) => c.charCodeAt(0));
    expect(await inflateLabels(bytes.buffer)).toEqual(labels);
  });
});

describe("drawing again on another state", () => {
  it("changes only the pixels that were changed, under new numbers", async () => {
    const { rebased } = await import("../src/drawing/rebase");
    const patch = {
      tool: "brush",
      place: { x: 0, y: 0, w: 4, h: 1 },
      before: Int32Array.of(0, 0, 0, 5),
      after: Int32Array.of(0, 7, 7, 5),
      classesBefore: {},
      classesAfter: { 7: 1 },
      acceptedBefore: null,
      acceptedAfter: null,
    };
    const again = rebased(patch, Int32Array.of(7, 7, 0, 0), (label) => (label === 7 ? 8 : label));
    expect([...again.after]).toEqual([7, 8, 8, 0]);
    expect([...again.before]).toEqual([7, 7, 0, 0]);
    expect(again.classesAfter).toEqual({ 8: 1 });
  });
});
