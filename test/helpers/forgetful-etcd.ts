import { once } from 'node:events';
import { connect, createServer, type ServerHttp2Stream } from 'node:http2';

/** gRPC's status of a request that may have been carried out or not, and how etcd says it when its leader changes. */
const UNAVAILABLE = { 'grpc-status': '14', 'grpc-message': 'etcdserver: leader changed' };

export interface ForgetfulEtcd {
  readonly url: string;
  /** The next request of that method is carried out, and its answer is lost. */
  forget(method: string): void;
  close(): void;
}

/** Stands before a real etcd and passes on what it is asked and what is answered, unless it is to forget that. */
export async function startForgetfulEtcd(etcdUrl: string): Promise<ForgetfulEtcd> {
  let forgotten: string | undefined;
  const etcd = connect(etcdUrl);
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const isForgotten = headers[':path'] === forgotten;
    if (isForgotten) forgotten = undefined;
    const asked = etcd.request({ ...headers, ':authority': undefined });
    stream.pipe(asked);
    if (isForgotten) {
      asked
        .resume()
        .once('end', () => stream.respond({ 'content-type': 'application/grpc', ...UNAVAILABLE }, { endStream: true }));
      return;
    }
    asked.once('response', (answer) => stream.respond(answer, { waitForTrailers: true }));
    asked.once('trailers', (trailers) => stream.once('wantTrailers', () => stream.sendTrailers(trailers)));
    asked.pipe(stream);
    for (const one of [asked, stream]) one.on('error', () => undefined); // the other side hung up
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    forget(method) {
      forgotten = `/etcdserverpb.${method}`;
    },
    close() {
      etcd.destroy();
      server.close();
    },
  };
}
