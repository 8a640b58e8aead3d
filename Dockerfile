FROM python:3.11-slim

RUN useradd --system --no-create-home --uid 5000 --shell /usr/sbin/nologin pymta \
 && install -d -o pymta -g pymta /etc/pymta /var/spool/pymta /var/mail/pymta

WORKDIR /usr/src/pymta
COPY pyproject.toml README.md LICENSE ./
COPY pymta ./pymta
RUN pip install --no-cache-dir .

COPY --chown=pymta:pymta conf/ /etc/pymta/
# In a container the places are volumes, the ports are reached from outside, and the host's name is the container's.
RUN pymta-conf -c /etc/pymta -e 'inet_interfaces = all' \
      'queue_directory = /var/spool/pymta' \
      'mail_spool_directory = /var/mail/pymta/'

USER pymta
ENV MAIL_CONFIG=/etc/pymta PYTHONUNBUFFERED=1
VOLUME ["/etc/pymta", "/var/spool/pymta", "/var/mail/pymta"]
EXPOSE 2525 2587
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["pymta", "status"]
ENTRYPOINT ["pymta"]
CMD ["run"]
