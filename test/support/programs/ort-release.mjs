/** Runs models with the onnxruntime-node package of argv[2]: two releases cannot live in one process, as their libraries share a name. */
import { createRequire } from 'node:module';

const { InferenceSession, Tensor } = createRequire(import.meta.url)(process.argv[2]);

async function answer({ path, level, config, feeds, optimizedPath }) {
  const session = await InferenceSession.create(path, {
    graphOptimizationLevel: level,
    intraOpNumThreads: 1,
    logSeverityLevel: 4,
    ...(optimizedPath ? { optimizedModelFilePath: optimizedPath } : {}),
    extra: config,
  });
  try {
    if (!feeds) return {};
    const results = await session.run(Object.fromEntries(feeds.map(({ name, type, data, dims }) => [name, new Tensor(type, data, dims)])));
    return { outputs: Object.entries(results).map(([name, { type, data, dims }]) => ({ name, type, data, dims })) };
  } finally {
    await session.release();
  }
}

process.on('message', async ({ id, ...request }) => {
  const result = await answer(request).catch((error) => ({ error: String(error.message ?? error) }));
  process.send({ id, ...result });
});
process.on('disconnect', () => process.exit(0));
process.send({ id: 0 });
