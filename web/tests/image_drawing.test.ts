import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ImageDetail, StrokeBody } from "../src/api/contract";
import { ImageDrawing } from "../src/annotate/drawing";
import { Polygon } from "../src/annotate/tools/polygon";
import type { Stage } from "../src/annotate/stage";
import { deflateLabels, inflateLabels } from "../src/drawing/codec";
import { pieces, type Patch } from "../src/drawing/patch";

/** The server's part of the protocol, as far as a drawing needs it. */
class Server {
  posted: StrokeBody[] = [];
  /** While true, strokes are not answered. */
  slow = false;
  /** Proposed objects that nobody has looked at, as the server knows them. */
  open: number[] = [];

  constructor(readonly width: number, readonly height: number) {
    vi.stubGlobal("addEventListener", () => undefined);
    vi.stubGlobal("fetch", (url: string, init: RequestInit = {}) => this.answer(String(url), init));
  }

  detail(more: Partial<ImageDetail> = {}): ImageDetail {
    const known = { id: 1, name: "x", width: this.width, height: this.height, role: "pool", unusable_reason: null, state: "todo", version: null, n_objects: null };
    const drawing = { has_draft: this.posted.length > 0, edit: `e${this.posted.length}`, base: "empty", window: null, next_label: 1, object_classes: {}, accepted: [] };
    const view = { tile_px: 512, levels: 1, pixel_size_um: null, has_proposal: false, proposal_round: null, has_uncertainty: false, slide: null };
    return { ...known, ...drawing, ...view, ...more } as unknown as ImageDetail;
  }

  private async answer(url: string, init: RequestInit): Promise<Response> {
    if (url.includes("/labels")) {
      const asked = new URL(`http://server${url}`).searchParams;
      const empty = new Int32Array(Number(asked.get("w")) * Number(asked.get("h")));
      return new Response(Buffer.from(await deflateLabels(empty), "base64"));
    }
    if (url.endsWith("/proposed")) return new Response(JSON.stringify({ open: this.open }));
    if (url.includes("/strokes")) {
      const stroke = JSON.parse(String(init.body)) as StrokeBody;
      if (this.slow) return new Promise(() => undefined);
      if (stroke.w * stroke.h > 4096 * 4096) return new Response(JSON.stringify({ problems: [] }), { status: 422 });
      this.posted.push(stroke);
      return new Response(JSON.stringify({ edit: `e${this.posted.length}`, next_label: 2 }));
    }
    return new Response(JSON.stringify(this.detail({ has_proposal: true })));
  }
}

function stageOf(drawing: ImageDrawing): Stage {
  const nothing = (): void => undefined;
  const layer = { changed: nothing };
  const view = { scale: 1, toView: (p: { x: number; y: number }) => p };
  return { drawing, layer, view, redraw: nothing, tell: nothing, mayDraw: () => true, classOfNew: () => ({}) } as unknown as Stage;
}

const saved = (drawing: ImageDrawing): Promise<void> => vi.waitFor(() => expect(drawing.queue.idle).toBe(true), { timeout: 20_000 });

async function line(drawing: ImageDrawing, y: number): Promise<void> {
  const recorder = drawing.record();
  recorder.setRun(y, 10, 20, y, () => true);
  await drawing.commit(recorder.finish("brush"));
}

let server: Server;
beforeEach(() => void (server = new Server(600, 600)));
afterEach(() => void vi.unstubAllGlobals());

describe("a patch larger than the server takes", () => {
  const side = 5000;
  const whole: Patch = {
    tool: "polygon",
    place: { x: 3, y: 4, w: side, h: 2 },
    before: new Int32Array(side * 2),
    after: Int32Array.from({ length: side * 2 }, (_, i) => i),
    classesBefore: { 1: null },
    classesAfter: { 1: 2 },
    acceptedBefore: null,
    acceptedAfter: null,
  };

  it("is cut into rectangles that say the same", () => {
    const parts = pieces(whole);
    expect(parts.map((p) => p.place)).toEqual([
      { x: 3, y: 4, w: 4096, h: 2 },
      { x: 4099, y: 4, w: 904, h: 2 },
    ]);
    expect([parts[1]!.after[0], parts[1]!.after[904]]).toEqual([4096, side + 4096]);
    expect(parts.map((p) => p.classesAfter)).toEqual([{ 1: 2 }, {}]);
  });

  it("is one where it is small enough", () => expect(pieces({ ...whole, place: { x: 0, y: 0, w: 100, h: 100 } })).toHaveLength(1));

  it("is stored, and so is what comes after it", async () => {
    server = new Server(4200, 4200);
    const drawing = new ImageDrawing(server.detail());
    await drawing.loader.ensure(drawing.tiles.whole);
    const recorder = drawing.record();
    for (const y of [0, 4199]) recorder.setRun(y, 0, 4199, 1, () => true);
    await drawing.commit(recorder.finish("polygon"));
    await line(drawing, 30);
    await saved(drawing);
    expect(server.posted.map(({ w, h }) => [w, h])).toEqual([[4096, 4096], [104, 4096], [4096, 104], [104, 104], [11, 1]]);
    const last = await inflateLabels(Uint8Array.from(Buffer.from(server.posted[3]!.labels, "base64")).buffer);
    expect([last[0], last[104 * 104 - 1]]).toEqual([0, 1]);
    expect(drawing.saveState.value).toBe("saved");
  }, 60_000);
});

describe("a proposal that comes", () => {
  it("is shown where nobody has drawn", async () => {
    const drawing = new ImageDrawing(server.detail());
    expect(await drawing.proposalCame()).toBe("shown");
    expect(drawing.detail.value.has_proposal).toBe(true);
  });

  it("leaves what is drawn, and what is not saved yet", async () => {
    server.slow = true;
    const drawing = new ImageDrawing(server.detail());
    await drawing.loader.ensure(drawing.tiles.whole);
    for (const y of [10, 20, 30]) await line(drawing, y);
    expect(await drawing.proposalCame()).toBe("kept");
    expect(drawing.queue.pending).toHaveLength(3);
    drawing.queue.clear("over"); // else it would be sent to the next test's server
    expect(drawing.history.canUndo).toBe(true);
    expect(drawing.tiles.get(10, 20)).toBe(20);
    expect(drawing.detail.value.has_proposal).toBe(true);
  });
});

describe("proposed objects that are left", () => {
  const proposal = { base: "proposal", next_label: 9 } as Partial<ImageDetail>;

  it("are those of the whole image, though little of it was on the screen", async () => {
    server = new Server(9000, 9000);
    server.open = [3, 5, 8];
    const drawing = new ImageDrawing(server.detail(proposal));
    await drawing.loader.ensure({ x: 0, y: 0, w: 600, h: 600 });
    expect(drawing.openProposals()).toEqual([]);
    expect(await drawing.allOpenProposals()).toEqual([3, 5, 8]);
    await drawing.note("accept", { accept: [5] }); // the server has not heard of it when it is asked again
    expect(await drawing.allOpenProposals()).toEqual([3, 8]);
    expect(server.posted.filter((it) => it.tool === "accept").map((it) => it.accepted)).toEqual([[5]]);
  });

  it("are those that are there, where the image has come whole", async () => {
    server.open = [3];
    const drawing = new ImageDrawing(server.detail(proposal));
    expect(await drawing.allOpenProposals(), "not loaded yet").toEqual([3]);
    await drawing.loader.ensure(drawing.tiles.whole);
    expect(await drawing.allOpenProposals()).toEqual([]);
    expect(await new ImageDrawing(server.detail()).allOpenProposals(), "no proposal").toEqual([]);
  });
});

it("a polygon also fills tiles that were never on the screen", async () => {
  server = new Server(6000, 6000);
  const drawing = new ImageDrawing(server.detail());
  await drawing.loader.ensure({ x: 0, y: 0, w: 600, h: 600 });
  const polygon = new Polygon(stageOf(drawing));
  for (const [x, y] of [[100, 100], [3100, 100], [3100, 3100], [100, 3100]] as const) polygon.down({ x, y, shift: false } as never);
  polygon.doubleClick();
  await vi.waitFor(() => expect(server.posted.map((each) => each.tool)).toContain("polygon"), { timeout: 20_000 });
  expect(drawing.index.objects.get(1)?.pixels).toBe(3000 * 3000);
  expect(drawing.tiles.get(1600, 1600)).toBe(1);
}, 60_000);
