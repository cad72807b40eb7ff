/** Little-endian int32, deflated (RFC 1950), as the server sends and takes labels. */

async function through(bytes: BlobPart, stream: ReadableWritablePair<Uint8Array<ArrayBuffer>, BufferSource>): Promise<ArrayBuffer> {
  return new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer();
}

export async function inflateLabels(bytes: ArrayBuffer): Promise<Int32Array> {
  return new Int32Array(await through(bytes, new DecompressionStream("deflate")));
}

export async function deflateLabels(labels: Int32Array): Promise<string> {
  const bytes = new Uint8Array(await through(labels as Int32Array<ArrayBuffer>, new CompressionStream("deflate")));
  let text = "";
  // In parts: a call takes only so many arguments.
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
