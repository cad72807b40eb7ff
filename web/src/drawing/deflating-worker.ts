import { deflateLabels } from "./codec";

addEventListener("message", (event: MessageEvent<{ id: number; labels: Int32Array }>) => {
  const { id, labels } = event.data;
  deflateLabels(labels).then(
    (text) => postMessage({ id, text }),
    (error: unknown) => postMessage({ id, error: String(error) }),
  );
});
