/**
 * Ciphers, roots, resolver and tracing of gRPC (GRPC_*), and a switch of Node's that turns the check of certificates off:
 * whoever sets these for another program does not mean us. Proxies are a channel option.
 */
for (const name of Object.keys(process.env)) {
  if (name.startsWith('GRPC_') || name === 'NODE_TLS_REJECT_UNAUTHORIZED') delete process.env[name];
}
// gRPC gives addresses to TLS as server names, of which Node would write a line.
process.noDeprecation = true;
