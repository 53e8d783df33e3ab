/** Lossless coding of integer maps, tile by tile; docs/decisions/0013-coding-of-maps.md says why it is as it is. */
import { BitReader, BitWriter } from './bit-stream.js';
import { GROUP, type GroupForm, readForm, readResidual, writeGroup } from './group-code.js';
import {
  type MapLayout,
  payloadStart,
  readHeader,
  type TilePlace,
  tileCount,
  tilePlace,
  tileRange,
  writeHeader,
  writeIndex,
} from './map-layout.js';
import { fold, PREDICTORS, predict, unfold } from './predictors.js';

/** What the coder did, for the count of operations. */
export interface CodingCounts {
  /** Values by predictor, in the order of PREDICTORS. */
  readonly predicted: number[];
}

export interface DecodedTile extends TilePlace {
  /** In raster order. */
  readonly codes: Int32Array;
}

/** Codes of all planes in raster order, each within the layout's bits. Throws RangeError for another number of codes. */
export function encodeMap(codes: ArrayLike<number>, layout: MapLayout, counts?: CodingCounts): Uint8Array {
  if (codes.length !== layout.planes * layout.rows * layout.columns)
    throw new RangeError('map codec: the layout has another number of codes');
  const tiles = tileCount(layout);
  const out = new BitWriter(codes.length);
  const lengths: number[] = [];
  for (let index = 0; index < tiles; index++) {
    const place = tilePlace(layout, index);
    const before = out.byteLength;
    encodeTile(out, cut(codes, layout, place), { layout, columns: place.columns, counts });
    out.align();
    lengths.push(out.byteLength - before);
  }
  const start = payloadStart(layout);
  const bytes = new Uint8Array(start + out.byteLength);
  writeHeader(bytes, layout);
  writeIndex(bytes, layout, lengths);
  bytes.set(out.result, start);
  return bytes;
}

/** All codes of a coded map. Throws RangeError for bytes that are none. */
export function decodeMap(bytes: Uint8Array): { readonly layout: MapLayout; readonly codes: Int32Array } {
  const layout = readHeader(bytes);
  const codes = new Int32Array(layout.planes * layout.rows * layout.columns);
  for (let index = 0; index < tileCount(layout); index++) {
    const tile = decodeTile(bytes, index);
    for (let row = 0; row < tile.rows; row++) {
      const from = tile.codes.subarray(row * tile.columns, (row + 1) * tile.columns);
      codes.set(from, (tile.plane * layout.rows + tile.row + row) * layout.columns + tile.column);
    }
  }
  return { layout, codes };
}

/** One tile of a coded map; the bytes of the others are not read. */
export function decodeTile(bytes: Uint8Array, index: number): DecodedTile {
  const layout = readHeader(bytes);
  const { start, end } = tileRange(bytes, layout, index);
  const place = tilePlace(layout, index);
  const codes = new Int32Array(place.rows * place.columns);
  const from = new BitReader(bytes, start, end);
  const around = { columns: place.columns, zero: layout.zero };
  let form: GroupForm | null = null;
  for (let index = 0; index < codes.length; index++) {
    if (index % GROUP === 0) form = readForm(from, form);
    const { predictor, width } = form as GroupForm;
    const residual = readResidual(from, width, layout.bits);
    codes[index] = unfold(residual, predict(predictor, codes, index, around), { bits: layout.bits, plain: isPlain(predictor, layout) });
  }
  return { ...place, codes };
}

/** Codes that begin at zero are written as they are when zero is what is predicted. */
function isPlain(predictor: number, { zero }: MapLayout): boolean {
  return predictor === 0 && zero === 0;
}

interface TileCoding {
  readonly layout: MapLayout;
  readonly columns: number;
  readonly counts: CodingCounts | undefined;
}

function encodeTile(out: BitWriter, codes: Int32Array, { layout, columns, counts }: TileCoding): void {
  const around = { columns, zero: layout.zero };
  let before: GroupForm | null = null;
  for (let start = 0; start < codes.length; start += GROUP) {
    const end = Math.min(codes.length, start + GROUP);
    const candidates = PREDICTORS.map((_, predictor) => {
      const residuals = new Int32Array(end - start);
      const form = { bits: layout.bits, plain: isPlain(predictor, layout) };
      for (let index = start; index < end; index++)
        residuals[index - start] = fold(codes[index] ?? 0, predict(predictor, codes, index, around), form);
      return residuals;
    });
    before = writeGroup(out, candidates, { bits: layout.bits, before });
    if (counts) counts.predicted[before.predictor] = (counts.predicted[before.predictor] ?? 0) + end - start;
  }
}

function cut(codes: ArrayLike<number>, layout: MapLayout, { plane, row, column, rows, columns }: TilePlace): Int32Array {
  const tile = new Int32Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    const start = (plane * layout.rows + row + y) * layout.columns + column;
    for (let x = 0; x < columns; x++) tile[y * columns + x] = codes[start + x] ?? 0;
  }
  return tile;
}
