/**
 * etcd3 and gRPC as Rudder uses them: they read no environment and write nothing. All of src gets them from here, since
 * gRPC reads its variables while it is loaded.
 */
import './library-environment.js';
import { setLogger } from '@grpc/grpc-js';

export { InterceptingCall, type Interceptor } from '@grpc/grpc-js';
export {
  castGrpcError,
  type DeleteBuilder,
  Etcd3,
  EtcdLeaseInvalidError,
  type ICompare,
  type IKeyValue,
  type IWatchResponse,
  isRecoverableError,
  type PutBuilder,
  Range,
} from 'etcd3';

// It tells of each attempt to connect, without a limit. What matters reaches us as an error.
const silent = () => undefined;
setLogger({ error: silent, info: silent, debug: silent });
