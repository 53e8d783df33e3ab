/** The models of the benchmark with their samples, preprocessed as in ../shared/reference/quantize_static.py. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { letterboxBgr, luma, readPicture, resizeBicubic } from './images.js';

export const dataFolder = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../shared/data');

export interface Samples {
  /** Sizes of one sample, without the batch. */
  readonly dims: readonly number[];
  readonly count: number;
  /** `count` samples one after the other. */
  readonly values: Float32Array;
  readonly labels?: Uint8Array;
}

export interface Subject {
  readonly name: SubjectName;
  readonly modelPath: string;
  /** Name of the graph input. */
  readonly input: string;
  /** Samples that the default recipe is given. */
  readonly calibrationSamples: number;
  /** The first `count` of the train split; begins again at its end. */
  calibration(count: number): Samples;
  /** All of the test split; labelled when the model classifies. */
  test(): Samples;
}

interface ByteImages {
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

const read = (file: string): Buffer => gunzipSync(readFileSync(join(dataFolder, file)));

/** IDX files: 16 bytes before the images, 8 before the labels. */
function idx(folder: string, split: string): ByteImages {
  return {
    pixels: read(`${folder}/${split}-images-idx3-ubyte.gz`).subarray(16),
    labels: read(`${folder}/${split}-labels-idx1-ubyte.gz`).subarray(8),
  };
}

/** CIFAR-10 binary: a label, then 3 planes of 32 x 32, per image. */
function cifar(file: string): ByteImages {
  const bytes = read(`cifar10/${file}`);
  const count = bytes.length / 3073;
  const pixels = new Uint8Array(count * 3072);
  const labels = new Uint8Array(count);
  for (let image = 0; image < count; image++) {
    labels[image] = bytes[image * 3073] ?? 0;
    pixels.set(bytes.subarray(image * 3073 + 1, (image + 1) * 3073), image * 3072);
  }
  return { pixels, labels };
}

/** Value of one byte; `position` within the sample. */
type Scaling = (byte: number, position: number) => number;

const f32 = Math.fround;
const unit: Scaling = (byte) => f32(byte / 255);
const normal =
  (mean: number, deviation: number): Scaling =>
  (byte) =>
    f32(f32(unit(byte, 0) - f32(mean)) / f32(deviation));
const mnistNormal = normal(0.1307, 0.3081);
const cifarNormal =
  (deviations: readonly number[]): Scaling =>
  (byte, position) => {
    const plane = Math.floor(position / 1024);
    return f32(f32(unit(byte, 0) - f32([0.4914, 0.4822, 0.4465][plane] ?? 0)) / f32(deviations[plane] ?? 1));
  };

interface Preprocessing {
  readonly dims: readonly number[];
  readonly scaling: Scaling;
  /** Planes last instead of first. */
  readonly channelsLast?: boolean;
}

function scaled({ pixels, labels }: ByteImages, { dims, scaling, channelsLast = false }: Preprocessing, count: number): Samples {
  const size = dims.reduce((product, dim) => product * dim, 1);
  const values = new Float32Array(count * size);
  const present = labels.length;
  for (let sample = 0; sample < count; sample++) {
    const from = (sample % present) * size;
    for (let position = 0; position < size; position++) {
      const source = channelsLast ? (position % 3) * 1024 + Math.floor(position / 3) : position;
      values[sample * size + position] = scaling(pixels[from + source] ?? 0, source);
    }
  }
  return { dims, count, values, labels: Uint8Array.from({ length: count }, (_, sample) => labels[sample % present] ?? 0) };
}

interface Splits {
  train(): ByteImages;
  test(): ByteImages;
}

const mnist: Splits = { train: () => idx('mnist', 'train12k'), test: () => idx('mnist', 't10k') };
const fashion: Splits = { train: () => idx('fashion-mnist', 'train20k'), test: () => idx('fashion-mnist', 't10k') };
const cifar10: Splits = { train: () => cifar('train_2000.bin.gz'), test: () => cifar('test_2000.bin.gz') };

type SubjectName = 'resnet8' | 'mlp' | 'mnistcnn' | 'fcnn' | 'resnet2b' | 'marabou' | 'vit' | 'espcn' | 'yolox';

interface Classifier extends Preprocessing {
  readonly name: SubjectName;
  readonly model: string;
  readonly input: string;
  readonly splits: Splits;
}

function classifier({ name, model, input, splits, ...preprocessing }: Classifier): Subject {
  return {
    name,
    modelPath: join(dataFolder, model),
    input,
    calibrationSamples: 200,
    calibration: (count) => scaled(splits.train(), preprocessing, count),
    test: () => {
      const images = splits.test();
      return scaled(images, preprocessing, images.labels.length);
    },
  };
}

interface Pictures {
  readonly name: SubjectName;
  readonly model: string;
  readonly input: string;
  readonly calibrationSamples: number;
  readonly dims: readonly number[];
  /** Folders of pictures; calibration and test. */
  readonly train: string;
  readonly test: string;
  prepare(path: string): Float32Array;
}

function pictures({ name, model, input, calibrationSamples, dims, train, test, prepare }: Pictures): Subject {
  const samples = (folder: string, count?: number): Samples => {
    const files = readdirSync(join(dataFolder, folder)).sort();
    const wanted = count ?? files.length;
    const size = dims.reduce((product, dim) => product * dim, 1);
    const values = new Float32Array(wanted * size);
    const prepared = files.slice(0, wanted).map((file) => prepare(join(dataFolder, folder, file)));
    for (let sample = 0; sample < wanted; sample++) values.set(prepared[sample % files.length] ?? [], sample * size);
    return { dims, count: wanted, values };
  };
  const calibration = (count: number): Samples => samples(train, count);
  return { name, modelPath: join(dataFolder, model), input, calibrationSamples, calibration, test: () => samples(test) };
}

const grey = { dims: [1, 28, 28] } as const;
const colour = { dims: [3, 32, 32], splits: cifar10 } as const;

/** In the order of the issue. */
export const subjects: readonly Subject[] = [
  classifier({ name: 'mlp', model: 'mnist/models/mnist-net_256x2.onnx', input: '0', splits: mnist, dims: [784, 1], scaling: unit }),
  classifier({ name: 'mnistcnn', model: 'mnist/models/cnn_mnist_pytorch.onnx', input: '0', splits: mnist, ...grey, scaling: mnistNormal }),
  classifier({
    name: 'fcnn',
    model: 'fashion-mnist/models/fashion_mnist_cnn.onnx',
    input: 'input',
    splits: fashion,
    ...grey,
    scaling: unit,
  }),
  classifier({
    name: 'resnet2b',
    model: 'cifar10/models/resnet_2b.onnx',
    input: 'input.1',
    ...colour,
    scaling: cifarNormal([0.2471, 0.2435, 0.2616]),
  }),
  classifier({
    name: 'marabou',
    model: 'cifar10/models/marabou_cifar10_medium.onnx',
    input: 'x:0',
    splits: cifar10,
    dims: [32, 32, 3],
    scaling: unit,
    channelsLast: true,
  }),
  classifier({
    name: 'vit',
    model: 'cifar10/models/vit_pgd_2_3_16.onnx',
    input: 'input',
    ...colour,
    scaling: cifarNormal([0.2023, 0.1994, 0.201]),
  }),
  pictures({
    name: 'espcn',
    model: 'superres/models/pytorch_super_resolution.onnx',
    input: 'input',
    calibrationSamples: 200,
    dims: [1, 224, 224],
    train: 'superres/T91',
    test: 'superres/Set5',
    prepare: (path) => Float32Array.from(resizeBicubic(luma(readPicture(path)), 224, 224).data, (byte) => byte / 255),
  }),
  pictures({
    name: 'yolox',
    model: 'detection/models/yolox_nano.onnx',
    input: 'images',
    calibrationSamples: 40,
    dims: [3, 416, 416],
    train: 'detection/coco_val40',
    test: 'detection/coco_val40',
    prepare: (path) => letterboxBgr(readPicture(path), 416),
  }),
];

/** Trained for the benchmarks of pruning; not among the models that quantization is asked for. */
export const resnet8 = classifier({
  name: 'resnet8',
  model: 'fashion-mnist/models/resnet8.onnx',
  input: 'input',
  splits: fashion,
  ...grey,
  scaling: normal(0.286, 0.353),
});
