/** The few API calls that the demo makes, with plain fetch: what README does with curl. */

export interface ServiceClient {
  /** Sends the bytes as they are; gives the id of the new resource. */
  upload(collection: 'models' | 'datasets', name: string, bytes: Uint8Array): Promise<string>;
  post(path: string, body: object): Promise<unknown>;
  get(path: string): Promise<unknown>;
}

/** Every call throws with the body of the answer when the status is not 2xx. */
export function serviceClient(baseUrl: string, apiKey: string): ServiceClient {
  const call = async (path: string, init: RequestInit = {}): Promise<unknown> => {
    const response = await fetch(new URL(path, baseUrl), { ...init, headers: { authorization: `Bearer ${apiKey}`, ...init.headers } });
    if (!response.ok) throw new Error(`${init.method ?? 'GET'} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  return {
    async upload(collection, name, bytes) {
      const headers = { 'content-type': 'application/octet-stream' };
      const created = await call(`/v1/${collection}?name=${encodeURIComponent(name)}`, { method: 'POST', headers, body: bytes });
      return (created as { id: string }).id;
    },
    post: (path, body) => call(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    get: (path) => call(path),
  };
}
