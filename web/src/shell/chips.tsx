import type { JSX } from "preact";
import type { ImageState } from "../api/contract";
import { STATE_WORDS } from "./words";

export function StateChip({ state }: { state: ImageState }): JSX.Element {
  return (
    <span class={`chip ${state}`} data-testid="state" data-state={state}>
      {STATE_WORDS[state]}
    </span>
  );
}
