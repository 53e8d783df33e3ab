// Who may import whom. test/unit/import-rules.test.ts injects one forbidden import per rule and sees each rule fire.
const process = '^services/(api|worker|webhooks|cli)/';
const feature = '^services/api/(models|datasets|jobs|artifacts|methods|metrics|api-keys|webhook-endpoints|health)/';

/** A rule: `name`, why it exists, who must not import (`from`) what (`to`). */
const rule = (name, comment, from, to) => ({ name, severity: 'error', comment, from, to });

/** `packages` (npm names) are imported in `home` and nowhere else, so that they can be replaced in one place. */
const oneDoor = (name, packages, home) =>
  rule(
    `one-door:${name}`,
    `${packages.join(', ')}: imported in ${home} and nowhere else`,
    { path: '^services/', pathNot: home },
    { path: packages.map((each) => `node_modules/${each}/`) },
  );

/** Inside the engine, `folder` may import itself, the error and method types, and what `allowed` names. */
const layer = (folder, ...allowed) =>
  rule(
    `engine-layer:${folder}`,
    `engine/${folder} stands on ${allowed.length === 0 ? 'nothing' : allowed.join(', ')}`,
    { path: `^services/engine/${folder}/` },
    {
      path: '^services/engine/',
      pathNot: [
        `^services/engine/${folder}/`,
        '^services/engine/engine-errors\\.ts$',
        ...allowed.map((each) => `^services/engine/${each}`),
      ],
    },
  );
const sessionPort = 'runtime/execution-session\\.ts$';
const methodType = 'method\\.ts$';
/** What every method that changes weights stands on. */
const aboveWeights = ['ir/', 'ops/', 'passes/', 'evaluation/', 'timing/', 'layers/', 'normal-equations/', sessionPort, methodType];

module.exports = {
  forbidden: [
    rule('no-cycles', 'a file that needs itself cannot be understood alone', {}, { circular: true }),
    rule('no-unresolved', 'every import exists', {}, { couldNotResolve: true }),
    rule(
      'processes-are-strangers',
      'processes talk through Postgres and the queue',
      { path: process },
      { path: process, pathNot: '^services/$1/' },
    ),
    rule(
      'contracts-are-a-leaf',
      'the shared words depend on nobody',
      { path: '^services/contracts/' },
      { path: '^services/', pathNot: '^services/contracts/' },
    ),
    rule(
      'platform-knows-only-contracts',
      'platform has no product knowledge',
      { path: '^services/platform/' },
      { path: '^services/', pathNot: '^services/(platform|contracts)/' },
    ),
    rule(
      'engine-stands-alone',
      'the engine knows no HTTP, queue or database',
      { path: '^services/engine/' },
      { path: '^services/', pathNot: '^services/(engine|platform/programs)/' },
    ),
    rule(
      'only-worker-and-cli-compress',
      'the API inspects; it never compresses',
      { path: '^services/', pathNot: '^services/(worker|cli|engine)/' },
      { path: '^services/engine/', pathNot: '^services/engine/inspection/' },
    ),
    rule(
      'only-the-api-inspects',
      'webhooks and platform see no models',
      { path: '^services/', pathNot: '^services/(api|worker|cli|engine)/' },
      { path: '^services/engine/' },
    ),
    rule(
      'edge-without-runtime',
      'the api and webhooks images carry no native onnxruntime',
      { path: '^services/(api|webhooks)/' },
      { path: 'node_modules/onnxruntime-node/', reachable: true },
    ),
    rule(
      'cli-needs-no-adapters',
      'the CLI runs the engine on local files and starts the service; it opens no database',
      { path: '^services/cli/' },
      { path: '^services/platform/', pathNot: '^services/platform/(lifecycle|config|programs)/' },
    ),
    rule(
      'front-door:engine',
      'the engine has two doors: index.ts and inspection/index.ts',
      { pathNot: '^services/engine/' },
      { path: '^services/engine/', pathNot: '^services/engine/(inspection/)?index\\.ts$' },
    ),
    rule(
      'front-door:contracts',
      'contracts has one door',
      { pathNot: '^services/contracts/' },
      { path: '^services/contracts/', pathNot: '^services/contracts/index\\.ts$' },
    ),
    rule(
      'front-door:platform-out',
      'each platform area has one door',
      { pathNot: '^services/platform/' },
      { path: '^services/platform/', pathNot: '^services/platform/[^/]+/index\\.ts$' },
    ),
    rule(
      'front-door:platform-in',
      'platform areas use each other by the door too',
      { path: '^services/platform/([^/]+)/' },
      { path: '^services/platform/', pathNot: ['^services/platform/$1/', '^services/platform/[^/]+/index\\.ts$'] },
    ),
    rule(
      'features-are-strangers',
      'API features share plugins, not each other',
      { path: feature },
      { path: feature, pathNot: '^services/api/$1/' },
    ),
    rule(
      'adapters-only-in-deps',
      'only deps.ts constructs adapters; types may be named anywhere',
      { path: '^services/(api|worker|webhooks)/', pathNot: '/deps\\.ts$' },
      { path: '^services/platform/(db|queue|storage)/', dependencyTypesNot: ['type-only'] },
    ),
    oneDoor('fastify', ['fastify', '@fastify/[^/]+'], '^services/api/'),
    oneDoor('bullmq', ['bullmq', 'ioredis'], '^services/platform/queue/'),
    oneDoor('prisma', ['@prisma/[^/]+', 'prisma'], '^services/platform/db/'),
    oneDoor('aws', ['@aws-sdk/[^/]+'], '^services/platform/storage/'),
    oneDoor('onnxruntime', ['onnxruntime-node', 'onnxruntime-common'], '^services/engine/runtime/'),
    oneDoor('protobuf', ['@bufbuild/protobuf'], '^services/engine/onnx/'),
    oneDoor('commander', ['commander'], '^services/cli/'),
    rule(
      'prisma-client-stays-home',
      'the generated client is private to platform/db',
      { path: '^services/', pathNot: '^services/platform/db/' },
      { path: '^services/platform/db/generated/' },
    ),
    layer('ir'),
    layer('onnx', 'ir/'),
    layer('ops', 'ir/'),
    layer('runtime', 'ir/', 'ops/', 'onnx/', 'timing/ratio-interval\\.ts$'),
    layer('inspection', 'ir/', 'ops/', 'onnx/'),
    layer('passes', 'ir/', 'ops/', sessionPort, methodType),
    layer('calibration', 'ir/', sessionPort, methodType),
    layer('layers', 'ir/'),
    layer('timing', 'ir/', sessionPort, methodType),
    layer('normal-equations', 'ir/', 'layers/', sessionPort, methodType),
    layer('quantization', 'calibration/', 'training/', ...aboveWeights),
    layer('autodiff', 'ir/', 'ops/'),
    layer(
      'training',
      ...['ir/', 'ops/', 'data/', 'passes/', 'evaluation/', 'layers/', 'autodiff/', sessionPort, methodType],
      'runtime/(channel-block|observe-shapes|pseudo-random|inline-branches|trace)\\.ts$',
    ),
    layer('pruning', 'calibration/', 'data/state-pairs\\.ts$', 'runtime/(observe-shapes|pseudo-random)\\.ts$', ...aboveWeights),
    layer('qat', 'autodiff/', 'calibration/', 'quantization/', 'training/', ...aboveWeights),
    layer('distribution-aware', 'quantization/', 'qat/', 'training/', ...aboveWeights),
    layer('sparsity', ...aboveWeights),
    layer('low-rank', ...aboveWeights),
    layer('accelerators', 'ir/', 'ops/'),
    layer('map-codec'),
    layer(
      'activation-compression',
      ...['ir/', 'accelerators/', 'map-codec/', sessionPort, methodType],
      'quantization/quantization-parameters\\.ts$',
      'runtime/observe-shapes\\.ts$',
    ),
    layer(
      'precision',
      ...['calibration/', 'quantization/', 'autodiff/', 'training/', 'accelerators/', 'map-codec/', ...aboveWeights],
      'runtime/observe-shapes\\.ts$',
    ),
    layer('emulation', 'ir/', 'onnx/', 'runtime/', 'quantization/'),
    layer('evaluation', 'ir/', 'layers/', sessionPort, methodType),
    layer('data', 'ir/', sessionPort, methodType),
    rule(
      'engine-core-is-pure',
      'the mathematics reads no files and opens no sockets',
      {
        path: '^services/engine/(ir|ops|passes|calibration|quantization|timing|layers|normal-equations|pruning|sparsity|low-rank|autodiff|qat|distribution-aware|training|accelerators|map-codec|activation-compression|precision)/',
        pathNot: '^services/engine/training/(checkpoint|sample-records)\\.ts$',
      },
      { dependencyTypes: ['core'], path: '^(node:)?(fs|net|http|https|dns|tls|child_process|worker_threads|process)(/|$)' },
    ),
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    preserveSymlinks: true,
    doNotFollow: { path: ['node_modules', '^services/platform/db/generated/'] },
    enhancedResolveOptions: { conditionNames: ['import', 'require', 'node', 'default'], exportsFields: ['exports'] },
  },
};
