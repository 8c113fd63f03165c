#!/usr/bin/env python3
"""The official Python SDK as a client of the simulator: what it can't read, the simulator answers wrongly.

    python3 -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/sdk_client.py [--program target/debug/batch-detach]

Starts `batch-detach simulate` on a free port of 127.0.0.1. The last line is `N passed, N failed`; ends with 0 if none
failed.
"""

import argparse
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, ConnectionException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiam.v3 import (
    AgencyAuth, AgencyAuthIdentity, AuthScope, AuthScopeProject, CreateTemporaryAccessKeyByAgencyRequest,
    CreateTemporaryAccessKeyByAgencyRequestBody, IamClient, IdentityAssumerole, KeystoneCreateUserTokenByPasswordRequest,
    KeystoneCreateUserTokenByPasswordRequestBody, KeystoneListAuthProjectsRequest, KeystoneListProjectsRequest,
    PwdAuth, PwdIdentity, PwdPassword, PwdPasswordUser, PwdPasswordUserDomain)
from huaweicloudsdkworkspace.v2 import (
    AssignModelInfo, AttachInstancesDesktopInfo, AttachInstancesUserInfo, BatchAttachInstancesReq,
    BatchAttachInstancesRequest, BatchDetachInstancesReq, BatchDetachInstancesRequest, DetachInstancesDesktopInfo,
    DetachInstancesUserInfo, ListDesktopPoolAuthorizedObjectsRequest, ListDesktopPoolsRequest, ListDesktopsDetailRequest,
    ListDesktopsRequest, ListItaSubJobsRequest, ListUserGroupsRequest, ListUsersOfGroupRequest, ListUsersRequest,
    ShowDesktopDetailRequest, ShowJobRequest, WorkspaceClient)

from simulator import Simulator, build_program

REGION = "cn-north-4"
# One desktop is named in Chinese: filters and bodies with such letters are signed, too.
SEATS = [(f"0b1e{n:04x}-5eed-4000-8000-0000000000{n:02x}", f"PC-{n:03}", f"user-{n:02}") for n in range(39)]
SEATS.append(("0b1effff-5eed-4000-8000-0000000000ff", "PC-999", "欧阳修文"))


class Checks:
    """Each method is one check: the SDK asks, and what it understood is what the world holds."""

    def __init__(self, simulator):
        self.simulator = simulator
        key = BasicCredentials("AKAKAKAKAKAKAKAKAKAK", "s3cr3t", simulator.project)
        key = key.with_iam_endpoint(simulator.address)
        self.workspace = WorkspaceClient.new_builder().with_credentials(key).with_endpoint(simulator.address).build()
        account = GlobalCredentials("AKAKAKAKAKAKAKAKAKAK", "s3cr3t", "account-1").with_iam_endpoint(simulator.address)
        self.iam = IamClient.new_builder().with_credentials(account).with_endpoint(simulator.address).build()

        # The simulator gives some of the list's people another desktop.
        self.estate = self.workspace.list_desktops(ListDesktopsRequest()).total_count
        assert len(SEATS) <= self.estate < 2 * len(SEATS), self.estate

    def desktops(self, **filters):
        """Those of the list."""
        answer = self.workspace.list_desktops_detail(ListDesktopsDetailRequest(limit=500, **filters))
        listed = {id for id, _, _ in SEATS}
        return {desktop.desktop_id: desktop for desktop in answer.desktops if desktop.desktop_id in listed}

    def bound(self, desktop):
        return [user.user_name for user in self.desktops(desktop_id=[desktop])[desktop].attach_user_infos or []]

    def detach(self, *bindings):
        desktops = [
            DetachInstancesDesktopInfo(
                desktop_id=desktop, is_detach_all_users=False,
                detach_user_infos=[DetachInstancesUserInfo(user_name=user, type="USER")])
            for desktop, user in bindings]
        body = BatchDetachInstancesReq(desktops=desktops)
        return self.workspace.batch_detach_instances(BatchDetachInstancesRequest(body=body))

    def find(self, wanted, **attributes):
        """Bindings of desktops that are like this."""
        users = {desktop: user for desktop, _, user in SEATS}
        found = [(id, users[id]) for id, desktop in self.desktops().items()
                 if desktop.attach_user_infos and all(getattr(desktop, name) == value for name, value in attributes.items())]
        assert len(found) >= wanted, (attributes, found)
        return found[:wanted]

    def until_gone(self, desktop):
        for _ in range(100):
            if not self.bound(desktop):
                return
            time.sleep(0.1)
        raise AssertionError(f"{desktop} is still bound")

    def check_every_desktop_is_listed_with_its_user(self):
        listed = self.desktops()
        assert set(listed) == {id for id, _, _ in SEATS}, len(listed)
        for id, name, user in SEATS:
            desktop = listed[id]
            assert desktop.computer_name == name, desktop
            assert [one.user_name for one in desktop.attach_user_infos or []] in ([user], []), desktop
            assert desktop.status in ("ACTIVE", "SHUTOFF", "HIBERNATED", "ERROR"), desktop.status

    def check_the_short_list_pages(self):
        first = self.workspace.list_desktops(ListDesktopsRequest(limit=15, offset=0))
        second = self.workspace.list_desktops(ListDesktopsRequest(limit=15, offset=15))
        assert first.total_count == self.estate and len(first.desktops) == len(second.desktops) == 15
        assert not {one.desktop_id for one in first.desktops} & {one.desktop_id for one in second.desktops}

    def check_a_filter_by_ids_gives_those_desktops_alone(self):
        wanted = [id for id, _, _ in SEATS[:3]]
        assert set(self.desktops(desktop_id=wanted)) == set(wanted)

    def check_a_filter_in_chinese_is_signed_and_read(self):
        found = self.desktops(user_name="欧阳修文")
        assert set(found) <= {"0b1effff-5eed-4000-8000-0000000000ff"}, found

    def check_one_desktop_is_shown(self):
        id, name, _ = SEATS[0]
        desktop = self.workspace.show_desktop_detail(ShowDesktopDetailRequest(desktop_id=id)).desktop
        assert (desktop.desktop_id, desktop.computer_name) == (id, name)

    def check_an_unknown_desktop_is_refused_in_the_shape_of_the_service(self):
        try:
            self.workspace.show_desktop_detail(ShowDesktopDetailRequest(desktop_id="nowhere"))
        except ClientRequestException as error:
            assert error.status_code == 404 and error.error_code and error.error_msg and error.request_id, error
        else:
            raise AssertionError("found")

    def check_an_ordinary_desktop_is_detached_without_a_job(self):
        [(id, user)] = self.find(1, desktop_type="DEDICATED", status="ACTIVE")
        answer = self.detach((id, user))
        assert not answer.failed_operation_list and not answer.job_id, answer
        self.until_gone(id)

    def check_a_hibernated_desktop_fails_inside_a_200(self):
        [(id, user)] = self.find(1, status="HIBERNATED")
        [failure] = self.detach((id, user)).failed_operation_list
        assert failure.desktop_id == id and failure.error_code == "WKS.00010032" and failure.error_msg, failure
        assert self.bound(id) == [user]

    def check_a_pool_desktop_has_a_job_with_sub_jobs(self):
        [(id, user)] = self.find(1, desktop_type="POOLED")
        answer = self.detach((id, user))
        assert answer.job_id and not answer.failed_operation_list, answer
        for _ in range(100):
            job = self.workspace.show_job(ShowJobRequest(job_id=answer.job_id))
            if job.status not in ("WAITING", "RUNNING"):
                break
            time.sleep(0.1)
        assert job.status in ("COMPLETE", "SUCCESS"), job
        subs = self.workspace.list_ita_sub_jobs(ListItaSubJobsRequest(job_id=answer.job_id))
        assert [(sub.status, sub.entities.desktop_id) for sub in subs.jobs] == [("SUCCESS", id)], subs
        self.until_gone(id)

    def check_a_detached_user_is_attached_again(self):
        [(id, user)] = self.find(1, desktop_type="DEDICATED", status="ACTIVE")
        self.detach((id, user))
        self.until_gone(id)
        info = AttachInstancesDesktopInfo(
            desktop_id=id, is_clear_data=False,
            attach_user_infos=[AttachInstancesUserInfo(user_name=user, user_group="users", type="USER")])
        body = BatchAttachInstancesReq(
            desktops=[info],
            assign_model=AssignModelInfo(priority_strategy="FIXED_RELATION", assign_dimension="DESKTOP"))
        self.workspace.batch_attach_instances(BatchAttachInstancesRequest(body=body))
        for _ in range(100):
            if self.bound(id) == [user]:
                return
            time.sleep(0.1)
        raise AssertionError(f"{user} was not attached again")

    def check_users_are_listed(self):
        users = {user.user_name for user in self.workspace.list_users(ListUsersRequest()).users}
        assert users == {user for _, _, user in SEATS}, users

    def check_pools_are_listed_with_whom_they_are_authorised_for(self):
        answer = self.workspace.list_desktop_pools(ListDesktopPoolsRequest())
        assert answer.total_count == len(answer.desktop_pools) > 0, answer
        people, authorised = {user for _, _, user in SEATS}, set()
        for pool in answer.desktop_pools:
            assert pool.id and pool.name, pool
            found = self.workspace.list_desktop_pool_authorized_objects(
                ListDesktopPoolAuthorizedObjectsRequest(pool_id=pool.id, limit=100, offset=0))
            assert found.total_count == len(found.objects), found
            for one in found.objects:
                assert one.object_id and one.object_type in ("USER", "USER_GROUP"), one
                authorised.add(one.object_name)
        assert authorised & people, authorised

    def check_groups_are_listed_with_their_members(self):
        answer = self.workspace.list_user_groups(ListUserGroupsRequest())
        assert answer.total_count == len(answer.user_groups) > 0, answer
        ids = {user.user_name: user.id for user in self.workspace.list_users(ListUsersRequest()).users}
        members = {}
        for group in answer.user_groups:
            assert group.id and group.name, group
            found = self.workspace.list_users_of_group(ListUsersOfGroupRequest(group_id=group.id))
            assert found.total_count == len(found.users), found
            members.update({user.user_name: user.id for user in found.users})
        assert members and members.items() <= ids.items(), members

    def check_a_group_or_pool_that_is_not_there_is_refused_in_the_shape_of_the_service(self):
        for ask in [lambda: self.workspace.list_users_of_group(ListUsersOfGroupRequest(group_id="nowhere")),
                    lambda: self.workspace.list_desktop_pool_authorized_objects(
                        ListDesktopPoolAuthorizedObjectsRequest(pool_id="nowhere", limit=10, offset=0))]:
            try:
                ask()
            except ClientRequestException as error:
                assert error.status_code == 404 and error.error_code and error.error_msg, error
            else:
                raise AssertionError("found")

    def check_a_token_is_issued_for_a_password(self):
        user = PwdPasswordUser(domain=PwdPasswordUserDomain(name="acme"), name="ops", password="pa55")
        identity = PwdIdentity(methods=["password"], password=PwdPassword(user=user))
        scope = AuthScope(project=AuthScopeProject(name=REGION))
        body = KeystoneCreateUserTokenByPasswordRequestBody(auth=PwdAuth(identity=identity, scope=scope))
        answer = self.iam.keystone_create_user_token_by_password(KeystoneCreateUserTokenByPasswordRequest(body=body))
        assert answer.x_subject_token and answer.token.expires_at > answer.token.issued_at, answer

    def check_projects_are_listed_by_region(self):
        [project] = self.iam.keystone_list_projects(KeystoneListProjectsRequest(name=REGION)).projects
        assert project.name == REGION and project.id == self.simulator.project, project
        [own] = self.iam.keystone_list_auth_projects(KeystoneListAuthProjectsRequest()).projects
        assert own.id == project.id

    def temporary_key(self, **role):
        role = IdentityAssumerole(agency_name="ops", domain_name="acme", **role)
        body = CreateTemporaryAccessKeyByAgencyRequestBody(
            auth=AgencyAuth(identity=AgencyAuthIdentity(methods=["assume_role"], assume_role=role)))
        request = CreateTemporaryAccessKeyByAgencyRequest(body=body)
        return self.iam.create_temporary_access_key_by_agency(request).credential

    def desktops_by(self, access, secret, token, project=None):
        key = BasicCredentials(access, secret, project).with_security_token(token).with_iam_endpoint(self.simulator.address)
        client = WorkspaceClient.new_builder().with_credentials(key)
        client = client.with_region(Region(REGION, self.simulator.address)).build()
        return len(client.list_desktops(ListDesktopsRequest()).desktops)

    def check_an_agency_signs_with_temporary_keys_and_finds_its_project(self):
        key = self.temporary_key(duration_seconds=3600)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", key.expires_at), key.expires_at
        assert self.desktops_by(key.access, key.secret, key.securitytoken) == self.estate

    def check_a_temporary_key_without_its_token_or_with_another_secret_is_refused(self):
        key = self.temporary_key()
        for secret, token in [("other", key.securitytoken), (key.secret, None), (key.secret, "other")]:
            try:
                self.desktops_by(key.access, secret, token, self.simulator.project)
            except ClientRequestException as refused:
                assert refused.status_code == 401, refused
            else:
                raise AssertionError("it was let in")

    def check_a_role_that_iam_does_not_take_is_refused(self):
        try:
            self.temporary_key(duration_seconds=60)
        except ClientRequestException as refused:
            assert refused.status_code == 400, refused
        else:
            raise AssertionError("60 seconds are too short")

    def check_the_sdk_finds_the_project_by_itself(self):
        key = BasicCredentials("AKAKAKAKAKAKAKAKAKAK", "s3cr3t").with_iam_endpoint(self.simulator.address)
        client = WorkspaceClient.new_builder().with_credentials(key)
        client = client.with_region(Region(REGION, self.simulator.address)).build()
        assert len(client.list_desktops(ListDesktopsRequest()).desktops) == self.estate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", help="the program; built if not given")
    options = parser.parse_args()
    program = Path(options.program).resolve() if options.program else build_program()
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(program, Path(folder), SEATS, seed=3)
        try:
            checks = Checks(simulator)
            for name in [name for name in dir(checks) if name.startswith("check_")]:
                words = name.removeprefix("check_").replace("_", " ")
                try:
                    getattr(checks, name)()
                except (AssertionError, AttributeError, TypeError, ValueError, ClientRequestException,
                        ConnectionException):
                    failed += 1
                    print(f"FAILED: {words}\n{traceback.format_exc()}")
                else:
                    passed += 1
                    print(f"ok: {words}")
        finally:
            code = simulator.stop()
    if code != 0:
        failed += 1
        print(f"FAILED: the simulator ended with {code}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
