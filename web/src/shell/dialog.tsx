import { useEffect, useRef } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { Icon } from "./icons";

interface DialogProps {
  title: string;
  testId?: string;
  children: ComponentChildren;
  /** Without it the dialog cannot be closed other than by its own buttons. */
  onClose?: () => void;
  wide?: boolean;
}

/** A modal dialog: the browser keeps the focus inside; it is given back afterwards. */
export function Dialog({ title, testId, children, onClose, wide = false }: DialogProps): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current!;
    const opener = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      // The element has left the page by now, and then the browser gives the focus back to nobody.
      if (opener instanceof HTMLElement && opener.isConnected && document.activeElement === document.body) opener.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "dialog wide" : "dialog"}
      aria-label={title}
      data-testid={testId}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onKeyDown={(event) => event.stopPropagation()}
    >
      <header class="dialog-head">
        <h2>{title}</h2>
        {onClose && (
          <button type="button" class="quiet square" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        )}
      </header>
      {children}
    </dialog>
  );
}

interface FormEndProps {
  problem: string;
  submit: string;
  onCancel?: () => void;
  busy?: boolean;
}

/** What ends a form: why it was refused, and its buttons. */
export function FormEnd({ problem, submit, onCancel, busy = false }: FormEndProps): JSX.Element {
  return (
    <>
      {problem && <p class="problem" role="alert">{problem}</p>}
      <div class="row end">
        {onCancel && (
          <button type="button" class="quiet" onClick={onCancel}>
            Cancel
          </button>
        )}
        <button type="submit" class="main" disabled={busy}>
          {submit}
        </button>
      </div>
    </>
  );
}
