/**
 * Which etcd a node uses, as its flags say it: names and paths, and no secret. Told on the control socket at `/etcd`, from
 * the first moment of a start on.
 */
export interface EtcdSettings {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly cafile?: string;
  readonly certfile?: string;
  readonly keyfile?: string;
  readonly username?: string;
  readonly passwordFile?: string;
}
