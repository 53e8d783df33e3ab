/** The networks for super-resolution x3 that figures are given of. */
import { join } from 'node:path';

export interface SuperResolutionModel {
  readonly name: 'espcn_x3' | 'fsrcnn_x3' | 'pytorch_super_resolution';
  readonly path: string;
  /** Side of the square that the model takes; absent where it takes any size. */
  readonly side?: number;
}

/** `only`: names with commas between; default all. */
export function superResolutionModels(data: string, only?: string): SuperResolutionModel[] {
  const path = (name: string): string => join(data, 'superres/models', `${name}.onnx`);
  const all: SuperResolutionModel[] = [
    { name: 'espcn_x3', path: path('espcn_x3') },
    { name: 'fsrcnn_x3', path: path('fsrcnn_x3') },
    { name: 'pytorch_super_resolution', path: path('pytorch_super_resolution'), side: 224 },
  ];
  return all.filter(({ name }) => only === undefined || only.split(',').includes(name));
}
