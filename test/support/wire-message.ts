/** Protobuf messages by hand, for files that no correct encoder would write. https://protobuf.dev/programming-guides/encoding/ */

export type WireField = readonly [field: number, value: string | number | bigint | Uint8Array];

/** Numbers become varints, everything else a length-delimited field. */
export function wireMessage(...fields: readonly WireField[]): Buffer {
  return Buffer.concat(
    fields.map(([field, value]) => {
      if (typeof value === 'number' || typeof value === 'bigint') return Buffer.concat([varint(field * 8), varint(value)]);
      const bytes = Buffer.from(value);
      return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
    }),
  );
}

function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}
