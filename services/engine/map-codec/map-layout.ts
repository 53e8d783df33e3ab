/** How a map lies in planes and tiles, and the header of a coded map that says so. */
import { EngineError } from '../engine-errors.js';

/** Planes of rows of codes; each plane is cut into tiles that are coded apart. */
export interface MapLayout {
  readonly planes: number;
  readonly rows: number;
  readonly columns: number;
  /** Codes lie in 0 to 2^bits - 1; bits 1 to 16. */
  readonly bits: number;
  /** Code of the value zero: what groups of zeros hold. */
  readonly zero: number;
  readonly tile: { readonly rows: number; readonly columns: number };
}

/** One tile that can be read without the others. */
export interface TilePlace {
  readonly plane: number;
  readonly row: number;
  readonly column: number;
  readonly rows: number;
  readonly columns: number;
}

/** A strip of 8 rows is what a layer fetches at a time; 128 columns bound the row buffer of a decoder. */
export const DEFAULT_TILE = { rows: 8, columns: 128 } as const;

/** planes u32, rows u32, columns u32, zero u16, tile rows u16, tile columns u16, bits u8, unused u8; then the index. */
const HEADER_BYTES = 20;
/** Index: where the bytes of each plane begin, u32, counted from the first tile; then the bytes of each tile, u16 or, for large tiles, u32. */
const PLANE_BYTES = 4;

/** Leading axes are planes, the last two rows and columns; with one spatial axis or none a plane is one row. */
export function layoutOfMap(
  dims: readonly number[],
  codes: Pick<MapLayout, 'bits' | 'zero'>,
  tile: MapLayout['tile'] = DEFAULT_TILE,
): MapLayout {
  const spatial = dims.length > 3 ? 2 : 1;
  const sizes = dims.slice(dims.length - spatial);
  const planes = dims.slice(0, dims.length - spatial).reduce((product, size) => product * size, 1);
  const columns = sizes.at(-1) ?? 1;
  return checked({ planes, rows: spatial === 2 ? (sizes[0] ?? 1) : 1, columns, ...codes, tile });
}

/** Throws EngineError `recipe_invalid`. */
function checked(layout: MapLayout): MapLayout {
  const { bits, zero, tile } = layout;
  const isWhole = (value: number, low: number, high: number): boolean => Number.isInteger(value) && value >= low && value <= high;
  if (!isWhole(bits, 1, 16)) throw new EngineError('recipe_invalid', `Maps are coded in 1 to 16 bits, not ${bits}.`);
  if (!isWhole(zero, 0, 2 ** bits - 1)) throw new EngineError('recipe_invalid', `The zero ${zero} is no code of ${bits} bits.`);
  if (!isWhole(tile.rows, 1, 65535) || !isWhole(tile.columns, 1, 65535))
    throw new EngineError('recipe_invalid', 'A tile has 1 to 65535 rows and columns.');
  return layout;
}

export function tileCount({ planes, rows, columns, tile }: MapLayout): number {
  return planes * Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);
}

/** Tiles go along the columns first, then down the rows, then through the planes. */
export function tilePlace({ rows, columns, tile }: MapLayout, index: number): TilePlace {
  const across = Math.ceil(columns / tile.columns);
  const down = Math.ceil(rows / tile.rows);
  const column = (index % across) * tile.columns;
  const row = (Math.floor(index / across) % down) * tile.rows;
  const plane = Math.floor(index / (across * down));
  return { plane, row, column, rows: Math.min(tile.rows, rows - row), columns: Math.min(tile.columns, columns - column) };
}

function tilesPerPlane({ rows, columns, tile }: MapLayout): number {
  return Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);
}

/** Raw codes, one bit per group and one form are the most that a tile takes. */
function lengthBytes({ rows, columns, tile, bits }: MapLayout): number {
  const values = Math.min(rows, tile.rows) * Math.min(columns, tile.columns);
  return values * bits + values / 8 + 64 < 8 * 65535 ? 2 : 4;
}

/** Where the bits of the first tile begin. */
export function payloadStart(layout: MapLayout): number {
  return HEADER_BYTES + PLANE_BYTES * layout.planes + lengthBytes(layout) * tileCount(layout);
}

export function writeHeader(bytes: Uint8Array, layout: MapLayout): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [index, size] of [layout.planes, layout.rows, layout.columns].entries()) view.setUint32(4 * index, size, true);
  for (const [index, size] of [layout.zero, layout.tile.rows, layout.tile.columns].entries()) view.setUint16(12 + 2 * index, size, true);
  view.setUint8(18, layout.bits);
}

/** Throws RangeError when the bytes are none of this codec. */
export function readHeader(bytes: Uint8Array): MapLayout {
  if (bytes.byteLength < HEADER_BYTES) throw new RangeError('map codec: the coded map is cut off');
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const layout = {
    planes: view.getUint32(0, true),
    rows: view.getUint32(4, true),
    columns: view.getUint32(8, true),
    zero: view.getUint16(12, true),
    tile: { rows: view.getUint16(14, true), columns: view.getUint16(16, true) },
    bits: view.getUint8(18),
  };
  if (layout.bits < 1 || layout.bits > 16 || layout.tile.rows === 0 || layout.tile.columns === 0 || payloadStart(layout) > bytes.byteLength)
    throw new RangeError('map codec: these bytes are no coded map');
  return layout;
}

/** `lengths` are the bytes of each tile. */
export function writeIndex(bytes: Uint8Array, layout: MapLayout, lengths: readonly number[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [each, width] = [tilesPerPlane(layout), lengthBytes(layout)];
  const first = HEADER_BYTES + PLANE_BYTES * layout.planes;
  let start = 0;
  for (const [tile, length] of lengths.entries()) {
    if (tile % each === 0) view.setUint32(HEADER_BYTES + (PLANE_BYTES * tile) / each, start, true);
    if (width === 2) view.setUint16(first + 2 * tile, length, true);
    else view.setUint32(first + 4 * tile, length, true);
    start += length;
  }
}

/** Where the bits of a tile lie in the coded map: behind the tiles of its plane that come before. */
export function tileRange(bytes: Uint8Array, layout: MapLayout, tile: number): { readonly start: number; readonly end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [each, width] = [tilesPerPlane(layout), lengthBytes(layout)];
  const first = HEADER_BYTES + PLANE_BYTES * layout.planes;
  const lengthOf = (index: number): number =>
    width === 2 ? view.getUint16(first + 2 * index, true) : view.getUint32(first + 4 * index, true);
  const plane = Math.floor(tile / each);
  let start = payloadStart(layout) + view.getUint32(HEADER_BYTES + PLANE_BYTES * plane, true);
  for (let index = plane * each; index < tile; index++) start += lengthOf(index);
  return { start, end: Math.min(bytes.byteLength, start + lengthOf(tile)) };
}
