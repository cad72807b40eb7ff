import type { JSX } from "preact";
import { Icon } from "../shell/icons";
import { redo, remove, undo } from "./commands";
import { tool } from "./settings";
import type { Stage } from "./stage";
import { TOOLS, TOOL_NAMES } from "./tools";

export function ToolBar({ stage }: { stage: Stage | null }): JSX.Element {
  if (stage) void stage.drawing.revision.value;
  const history = stage?.drawing.history;
  return (
    <div class="toolbar" role="toolbar" aria-label="Tools" aria-orientation="vertical">
      {TOOL_NAMES.map((name) => {
        const label = `${TOOLS[name].name} (${TOOLS[name].key})`;
        return (
          <button key={name} type="button" class="tool" aria-label={label} title={label} aria-pressed={tool.value === name} onClick={() => (tool.value = name)}>
            <Icon name={name} />
            <span aria-hidden="true">{TOOLS[name].name}</span>
          </button>
        );
      })}
      <hr />
      <button type="button" class="tool" aria-label="Undo (Ctrl+Z)" title="Undo (Ctrl+Z)" disabled={!history?.canUndo} onClick={() => stage && void undo(stage)}>
        <Icon name="undo" />
      </button>
      <button type="button" class="tool" aria-label="Redo (Ctrl+Y)" title="Redo (Ctrl+Y)" disabled={!history?.canRedo} onClick={() => stage && void redo(stage)}>
        <Icon name="redo" />
      </button>
      <button type="button" class="tool" aria-label="Delete object (Delete)" title="Delete object (Delete)" disabled={!stage?.drawing.selected.value} onClick={() => stage && void remove(stage)}>
        <Icon name="trash" />
      </button>
    </div>
  );
}
