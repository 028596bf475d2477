/**
 * The network of a lab in which a test writes leases by hand. Nodes lease subnets below 10.240.96.0, at random; what is
 * above belongs to the test: in the whole of the network each run would have its chance that both take the same one.
 */
export const SHARED_NETWORK = { Network: '10.240.0.0/16', SubnetMax: '10.240.95.0' };
export const SHARED_CONFIG = JSON.stringify(SHARED_NETWORK);
