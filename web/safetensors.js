// A safetensors file: the length of a header, the header as JSON, and raw tensors.
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, { dtype, data_offsets: [begin, end] }] of Object.entries(entries)) {
    const bytes = buffer.slice(8 + length + begin, 8 + length + end); // a copy is aligned
    tensors[name] = dtype === "F32" ? new Float32Array(bytes) : new Uint8Array(bytes);
  }
  return { metadata, tensors };
}
