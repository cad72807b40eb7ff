import { describe, expect, it } from "vitest";
import { Refused, Unreachable } from "../src/api/requests";
import { SaveQueue, type SaveState, type Task } from "../src/annotate/saving";

function listener(): { states: SaveState[]; conflicts: string[]; state: (s: SaveState) => void; answered: () => void; conflict: (c: { edit: string }) => void } {
  const states: SaveState[] = [];
  const conflicts: string[] = [];
  return { states, conflicts, state: (s) => states.push(s), answered: () => undefined, conflict: (c) => conflicts.push(c.edit) };
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

describe("the queue of what is to be saved", () => {
  it("sends in order, each with the state that the last answer named", async () => {
    const told = listener();
    const seen: string[] = [];
    const queue = new SaveQueue<Task>("e0", told);
    for (const name of ["a", "b", "c"]) {
      queue.add({ send: async (edit) => (seen.push(`${name}@${edit}`), { edit: `after ${name}` }) });
    }
    await settle();
    expect(seen).toEqual(["a@e0", "b@after a", "c@after b"]);
    expect(told.states.at(-1)).toBe("saved");
  });

  it("sends the same task again after a failure of the network, before any later one", async () => {
    const told = listener();
    const seen: string[] = [];
    let failures = 2;
    const queue = new SaveQueue<Task>("e0", told, async () => undefined);
    queue.add({
      send: async () => {
        seen.push("a");
        if (failures-- > 0) throw new Unreachable("no answer");
        return { edit: "e1" };
      },
    });
    queue.add({ send: async () => (seen.push("b"), { edit: "e2" }) });
    await settle();
    await settle();
    expect(seen).toEqual(["a", "a", "a", "b"]);
    expect(told.states).toContain("failed");
    expect(queue.edit).toBe("e2");
  });

  it("stops at a conflict and keeps what was not stored", async () => {
    const told = listener();
    const seen: string[] = [];
    let refuse = true;
    const queue = new SaveQueue<Task>("e0", told);
    queue.add({
      send: async (edit) => {
        if (refuse) throw new Refused(409, [], "e9", "changed elsewhere");
        seen.push(`a@${edit}`);
        return { edit: "e10" };
      },
    });
    queue.add({ send: async (edit) => (seen.push(`b@${edit}`), { edit: "e11" }) });
    await settle();
    expect(seen).toEqual([]);
    expect(told.conflicts).toEqual(["e9"]);
    expect(queue.pending).toHaveLength(2);
    refuse = false;
    queue.resume("e9");
    await settle();
    expect(seen).toEqual(["a@e9", "b@e10"]);
  });
});
