// The data of the page: base64, inflated by the browser, then columns of variable-length integers. `pack.rs` is the other side.

async function inflate(base64) {
  const text = atob(base64.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Reads a LEB128 column. Values may pass 32 bits, so they are numbers, exact below 2^53; tints past that lose bits that nobody sees.
function readColumn(bytes, place, count, delta) {
  const values = new Float64Array(count);
  let last = 0;
  for (let i = 0; i < count; i++) {
    let byte = bytes[place++];
    let value = byte & 0x7f;
    for (let scale = 128; byte >= 0x80; scale *= 128) {
      byte = bytes[place++];
      value += (byte & 0x7f) * scale;
    }
    if (delta) {
      last += value % 2 === 1 ? -(value + 1) / 2 : value / 2;
      value = last;
    }
    values[i] = value;
  }
  return { values, place };
}

// { head, columns by name, text }
async function unpack(base64) {
  const bytes = await inflate(base64);
  const headLength = new DataView(bytes.buffer).getUint32(0, true);
  const decoder = new TextDecoder();
  const head = JSON.parse(decoder.decode(bytes.subarray(4, 4 + headLength)));
  const columns = {};
  let place = 4 + headLength;
  for (const { name, count, delta } of head.columns) {
    const read = readColumn(bytes, place, count, delta);
    columns[name] = read.values;
    place = read.place;
  }
  return { head, columns, text: decoder.decode(bytes.subarray(place)) };
}
