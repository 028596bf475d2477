# A node in a container. It works on the host's network, so it is run with the host's network and TUN device:
#
#   docker build -t rudder .
#   docker run -d --name rudder --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --device /dev/net/tun \
#     -v /run/rudder:/run/rudder -v /var/lib/rudder:/var/lib/rudder rudder --etcd-endpoints http://10.1.1.10:2379
#
# Both bases exist for amd64 and arm64, and the addon is compiled where it is built: docker buildx --platform does both.
ARG BUILD_IMAGE=node:24-bookworm
ARG BASE_IMAGE=node:24-bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY native ./native
COPY scripts ./scripts
RUN scripts/build-native Release
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run --silent build:ts && rm -r dist/bench && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && find node_modules/netlink -mindepth 1 -maxdepth 1 ! -name dist ! -name build ! -name package.json ! -name LICENSE -exec rm -r {} + \
 && find node_modules/netlink/build -type f ! -name netlink_binding.node -delete \
 && mkdir -p /out/native/build/Release \
 && cp native/build/Release/rudder_native.node /out/native/build/Release/ \
 && cp -r dist node_modules package.json /out/

FROM ${BASE_IMAGE}
# The firewall is kept with the command that Docker on the host uses, and with a table of our own; "rudder doctor" looks with ip
# and ping.
RUN { command -v iptables && command -v nft && command -v ip && command -v ping; } >/dev/null \
 || { apt-get update && apt-get install -y --no-install-recommends iptables nftables iproute2 iputils-ping \
      && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /out /usr/lib/rudder
RUN ln -s ../lib/rudder/dist/cli/main.js /usr/bin/rudder
ENV NODE_ENV=production
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["rudder", "status", "--json"]
ENTRYPOINT ["rudder"]
