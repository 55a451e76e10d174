"""What luigi's S3Client and the Python d6tpipe do with the keys of a server, and what
they must not be able to do. Reads the two sets of keys from standard input. With the
argument "policy" they are such as MinIO makes, which holds them to a policy."""
import json
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

sets = json.load(sys.stdin)
policy = sys.argv[1:] == ['policy']
bucket, prefix = 'managed', 'alice/sales/'
w = boto3.resource('s3', **sets['write'])
r = boto3.resource('s3', **sets['read'])
wc, rc = w.meta.client, r.meta.client


def refused(what, code, call):
    try:
        call()
    except ClientError as e:
        got = e.response['Error']['Code']
        assert got in code.split('|'), '%s: %s' % (what, got)
        return
    raise AssertionError('%s was not refused' % what)


# put and put_multipart
wc.put_object(Bucket=bucket, Key=prefix + 'a.csv', Body=b'a,b\n')
open('big', 'wb').write(bytes(range(256)) * 4096 * 12)  # 12 MiB
wc.upload_file('big', bucket, prefix + 'deep/big file+\u00fc.bin', Config=TransferConfig(multipart_chunksize=5 << 20))
wc.upload_file('big', bucket, prefix + 'other', Config=TransferConfig(use_threads=False))

# list, with both forms of the call
assert [o.key for o in r.Bucket(bucket).objects.filter(Prefix=prefix)] == [prefix + k for k in ('a.csv', 'deep/big file+\u00fc.bin', 'other')]
page = rc.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter='/', MaxKeys=2)
assert [p['Prefix'] for p in page['CommonPrefixes']] == [prefix + 'deep/'], page
page = rc.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter='/', MaxKeys=2, ContinuationToken=page['NextContinuationToken'])
assert [o['Key'] for o in page['Contents']] == [prefix + 'other'], page

# exists, get, isdir
assert r.Object(bucket, prefix + 'a.csv').content_length == 4
refused('missing', '404', lambda: r.Object(bucket, prefix + 'none').load())
if not policy:  # it cannot tell this from a listing of all
    rc.head_bucket(Bucket=bucket)
rc.get_bucket_location(Bucket=bucket)
rc.download_file(bucket, prefix + 'deep/big file+\u00fc.bin', 'back', Config=TransferConfig(multipart_chunksize=5 << 20))
assert open('back', 'rb').read() == open('big', 'rb').read()
assert rc.get_object(Bucket=bucket, Key=prefix + 'a.csv', Range='bytes=2-')['Body'].read() == b'b\n'

# copy, remove
wc.copy({'Bucket': bucket, 'Key': prefix + 'deep/big file+\u00fc.bin'}, bucket, prefix + 'copy', Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
assert r.Object(bucket, prefix + 'copy').content_length == 12 << 20
wc.delete_object(Bucket=bucket, Key=prefix + 'copy')
answer = wc.delete_objects(Bucket=bucket, Delete={'Objects': [{'Key': prefix + 'other'}, {'Key': 'bob/x/victim'}]})
assert [d['Key'] for d in answer['Deleted']] == [prefix + 'other'], answer
assert [(e['Key'], e['Code']) for e in answer['Errors']] == [('bob/x/victim', 'AccessDenied')], answer

# what is refused
denied = 'AccessDenied|403'
refused('read key puts', denied, lambda: rc.put_object(Bucket=bucket, Key=prefix + 'x', Body=b'x'))
refused('read key uploads', denied, lambda: rc.create_multipart_upload(Bucket=bucket, Key=prefix + 'x'))
refused('read key deletes', denied, lambda: rc.delete_object(Bucket=bucket, Key=prefix + 'a.csv'))
refused('another folder', denied, lambda: wc.get_object(Bucket=bucket, Key='bob/x/victim'))
refused('another folder, head', denied, lambda: wc.head_object(Bucket=bucket, Key='bob/x/victim'))
refused('a sibling', denied, lambda: wc.put_object(Bucket=bucket, Key='alice/sales2/x', Body=b'x'))
refused('copy from another folder', denied, lambda: wc.copy_object(Bucket=bucket, Key=prefix + 'x', CopySource={'Bucket': bucket, 'Key': 'bob/x/victim'}))
refused('list another folder', denied, lambda: wc.list_objects_v2(Bucket=bucket, Prefix='bob/x/'))
refused('list all', denied, lambda: list(w.Bucket(bucket).objects.all()))
refused('list shorter', denied, lambda: wc.list_objects(Bucket=bucket, Prefix='alice/'))
if policy:
    assert [b['Name'] for b in wc.list_buckets()['Buckets']] == [bucket]
else:
    refused('buckets', denied, lambda: wc.list_buckets())
refused('create a bucket', denied, lambda: wc.create_bucket(Bucket='other'))
refused('delete the bucket', denied, lambda: wc.delete_bucket(Bucket=bucket))
refused('policy', denied, lambda: wc.put_bucket_policy(Bucket=bucket, Policy='{}'))
refused('ACL', denied, lambda: wc.put_bucket_acl(Bucket=bucket, ACL='public-read'))
refused('object ACL', denied, lambda: wc.put_object_acl(Bucket=bucket, Key=prefix + 'a.csv', ACL='public-read'))
mixed = dict(sets['read'], aws_session_token=sets['write']['aws_session_token'])
bad = 'InvalidToken|InvalidTokenId|InvalidAccessKeyId'
refused('token of another key', bad, lambda: boto3.client('s3', **mixed).get_object(Bucket=bucket, Key=prefix + 'a.csv'))
bare = {k: v for k, v in sets['read'].items() if k != 'aws_session_token'}
refused('no token', bad, lambda: boto3.client('s3', **bare).get_object(Bucket=bucket, Key=prefix + 'a.csv'))

# a URL
signed = boto3.client('s3', config=Config(signature_version='s3v4'), **sets['read'])
url = signed.generate_presigned_url('get_object', Params={'Bucket': bucket, 'Key': prefix + 'a.csv'}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b'a,b\n'
print('done')
